"""Writes a run as a model for TF Serving: python export.py --checkpoint_dir checkpoints/mine."""

from semantic_synthesis import command_line  # first: it quietens TensorFlow
from semantic_synthesis.options import define_flags, from_flags, help_text
from semantic_synthesis.serving.export import ExportOptions, export

define_flags(ExportOptions)


def main():
    """Writes the model and prints its folder."""
    print(export(from_flags(ExportOptions)))
    return 0


if __name__ == "__main__":
    command_line.start(main, lambda: f"{__doc__}\n{help_text(ExportOptions)}")
