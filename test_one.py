"""Makes a picture from one label map: python test_one.py --label_filename map.png --style_filename photo.jpg."""

from semantic_synthesis import command_line  # first: it quietens TensorFlow
from semantic_synthesis.one_picture import OneOptions, make_pictures
from semantic_synthesis.options import define_flags, from_flags, help_text

define_flags(OneOptions)


def main():
    """Writes the pictures and prints their paths."""
    for path in make_pictures(from_flags(OneOptions)):
        print(path)
    return 0


if __name__ == "__main__":
    command_line.start(main, lambda: f"{__doc__}\n{help_text(OneOptions)}")
