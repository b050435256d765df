"""Ten common mistakes with label maps: each makes a small wrong dataset; docs/datasets.md lists the answers.

    python tests/mistakes.py --write

rewrites the section between the two markers of the document; test_data_mistakes.py checks that it is current.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

import cv2
import numpy as np
from fixtures_data import REPOSITORY, label_map, photo, write_folders, write_json, write_picture

from semantic_synthesis.data import open_dataset, resolve, user_error
from semantic_synthesis.methods import make_config

DOCUMENT = REPOSITORY / "docs" / "datasets.md"
BEGIN, END = "<!-- mistakes: begin (made by tests/mistakes.py) -->", "<!-- mistakes: end -->"
COLORS = [[0, 0, 0], [255, 0, 0], [0, 128, 255]]


@dataclass(frozen=True)
class Mistake:
    """title: what was done. make(folder) -> Config. words: what the answer must hold."""

    title: str
    make: object
    words: tuple


def described(folder, ids=(0, 1, 2), **values):
    """A Config for images/ and labels/ below folder, described by classes.json."""
    rows = zip(ids, ("sky", "house", "road"), COLORS, strict=True)
    classes = [{"id": i, "name": name, "color": color} for i, name, color in rows]
    splits = {
        "train": {"image": "images/{stem}.*", "label": "labels/{stem}.*"},
        "val": {"image": "val/images/{stem}.*", "label": "val/labels/{stem}.*"},
    }
    values = {"name": "town", "classes": classes, "dataroot": ".", "splits": splits, **values}
    return make_config(dataset_mode=write_json(folder / "classes.json", values), crop_size=16)


def photo_as_label(folder):
    write_folders(folder)
    write_picture(folder / "labels" / "1.png", photo(seed=9))
    return described(folder)


def ids_from_one(folder):
    write_folders(folder, ids=(1, 2, 3))
    return described(folder)


def unknown_255(folder):
    write_folders(folder, ids=(0, 1, 2, 255))
    return described(folder)


def swapped_folders(folder):
    images, labels = write_folders(folder)
    return make_config(image_dir=labels, label_dir=images, crop_size=16)


def one_missing(folder):
    write_folders(folder)
    (folder / "labels" / "1.png").unlink()
    return described(folder)


def one_stem_twice(folder):
    write_folders(folder)
    write_picture(folder / "images" / "1.png", photo())
    return described(folder)


def other_size(folder):
    write_folders(folder)
    write_picture(folder / "labels" / "1.png", label_map([0, 1, 2], 32, 24))
    return described(folder)


def smoothed_edges(folder):
    write_folders(folder)
    colors = np.array(COLORS, np.uint8)[label_map([0, 1, 2], 50, 61, seed=1)]
    write_picture(folder / "labels" / "1.png", cv2.resize(colors, (32, 24), interpolation=cv2.INTER_LINEAR))
    return described(folder)


def empty_file(folder):
    write_folders(folder)
    (folder / "labels" / "1.png").write_bytes(b"")
    return described(folder)


def wrong_split(folder):
    write_folders(folder)
    return described(folder)


MISTAKES = {
    "photo_as_label": Mistake(
        "A photo lies among the label maps", photo_as_label, ("1.png", "looks like a photo")
    ),
    "ids_from_one": Mistake(
        "Ids are 1..N, the table says 0..N-1", ids_from_one, ("found 1..3", "subtract 1")
    ),
    "unknown_255": Mistake("255 without an unknown class", unknown_255, ("ids 255", '"unknown_id": 255')),
    "swapped_folders": Mistake("The two folders are swapped", swapped_folders, ("JPEG", "swapped")),
    "one_missing": Mistake("One label map is missing", one_missing, ("1.jpg", "no label map", "stem '1'")),
    "one_stem_twice": Mistake("Two photos with one stem", one_stem_twice, ("1.png", "1.jpg", "keep one")),
    "other_size": Mistake("Photo and label map differ in size", other_size, ("24x32", "32x24", "nearest")),
    "smoothed_edges": Mistake(
        "RGB label map with smoothed edges", smoothed_edges, ("nearest: ", "anti-aliasing")
    ),
    "empty_file": Mistake("An empty file", empty_file, ("1.png", "0 bytes", "again")),
    "wrong_split": Mistake("A split that is not there", wrong_split, ("'val'", "val/images/", "images/")),
}


def answer(name, folder):
    """The line that a user sees when training, or evaluating for the wrong split, meets the mistake."""
    config = MISTAKES[name].make(folder)
    try:
        config = resolve(config)
        split = "val" if name == "wrong_split" else "train"
        for _ in open_dataset(config, split).batches(1, training=False):
            pass
    except Exception as error:
        return user_error(error)
    return None


def section():
    """The document's section: mistake, message."""
    lines = [BEGIN, "", "| mistake | what you read |", "|---|---|"]
    for name, mistake in MISTAKES.items():
        with tempfile.TemporaryDirectory() as folder:
            message = answer(name, Path(folder)).replace(folder, "town").replace("|", "\\|")
        lines.append(f"| {mistake.title} | `{message}` |")
    return "\n".join([*lines, "", END])


def updated(text):
    """The document with a fresh section."""
    return text[: text.index(BEGIN)] + section() + text[text.index(END) + len(END) :]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="rewrite docs/datasets.md instead of printing")
    if parser.parse_args().write:
        DOCUMENT.write_text(updated(DOCUMENT.read_text()))
    else:
        sys.stdout.write(section() + "\n")
