"""Makes a picture from one label map: python test_one.py --label_filename map.png --style_filename photo.jpg."""

from semantic_synthesis.__main__ import run

if __name__ == "__main__":
    run("one")
