"""Changes files at random and reads them: an error of one line, or the right value; no crash, no hang, nothing else.

    python benchmarks/campaigns/mutations.py --trials 100000
    python benchmarks/campaigns/mutations.py --kinds labels,photos --trials 5000 --seconds 60

Kinds: labels (PNG of all forms, against Pillow's reading of the same bytes and the class table), photos (JPEG, PNG,
WebP, TIFF, BMP, PPM: a picture or an error), tables (class tables, descriptions; against the same rules restated),
configs (a run's config.json), checkpoints (a training's files: an error or the same arrays). Each kind runs in a
process of its own, so that a crash is seen; a reading of more than ten seconds counts as a hang.
"""

import argparse
import copy
import io
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

import common
import cv2
import numpy as np

_HANG_S = 10
_ODD = [
    None,
    True,
    -1,
    0,
    1,
    255,
    65536,
    10**30,
    0.5,
    float("nan"),
    "",
    "x",
    "\0",
    "\ud800",
    [],
    {},
    [[]],
    [1, 2],
    {"id": 1},
]


class Wrong(Exception):
    """A value that should not have come out."""


def changed(data, rng):
    """Bytes with a few places replaced, cut out, doubled, or cut off."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(6)
        if how <= 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8) if how else rng.randrange(1, 256)
        elif how == 3:
            data[at : at + rng.randrange(9)] = rng.randbytes(rng.randrange(9))
        elif how == 4:
            del data[at : at + rng.randrange(1, 64)]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def with_right_checksums(png):
    """A PNG whose chunks have the checksums of what they hold now, so that changes get past them."""
    at, parts = 8, [png[:8]]
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if at + 12 + length > len(png):
            break
        inside = png[at + 4 : at + 8 + length]
        parts.append(png[at : at + 4] + inside + struct.pack(">I", zlib.crc32(inside)))
        at += 12 + length
    return b"".join([*parts, png[at:]])


class Labels:
    """Label maps: what is accepted must be the class of Pillow's value."""

    def __init__(self, folder):
        from fixtures_data import encode_png

        from semantic_synthesis.data import ClassTable

        rng = np.random.default_rng(0)
        self.table = ClassTable.create(
            "t", [0, [2, 7], 1, 300], colors=[[0, 0, 0], [9, 8, 7], [255, 0, 0], [1, 2, 3]]
        )
        ids = rng.choice([0, 1, 2, 7], (12, 10))
        colors = self.table.colors[self.table.class_of_id[ids]]
        alpha = np.full((12, 10, 1), 255)
        palette = self.table.colors[[0, 2, 1, 0, 0, 0, 0, 1]]
        self.good = [
            encode_png(ids, 0, 8),
            encode_png(np.minimum(ids, 1), 0, 1),
            encode_png(np.minimum(ids, 2), 0, 2),
            encode_png(np.minimum(ids, 7), 0, 4),
            encode_png(np.where(ids == 7, 300, ids), 0, 16),
            encode_png(colors, 2, 8),
            encode_png(np.concatenate([colors, alpha], -1), 6, 8),
            encode_png(np.stack([ids, alpha[..., 0]], -1), 4, 8),
            encode_png(ids, 3, 8, palette=palette),
            encode_png(np.minimum(ids, 7), 3, 4, palette=palette),
        ]

    def trial(self, rng):
        """Reads one changed map."""
        from semantic_synthesis.data.decoding import decode_label

        data = changed(rng.choice(self.good), rng)
        if rng.random() < 0.8:
            data = with_right_checksums(data)
        found = decode_label(data, self.table, "m.png")
        expected = self._expected(data)
        if expected is not None and (found.shape != expected.shape or (found != expected).any()):
            raise Wrong(f"another map than Pillow reads: {data.hex()}")

    def _expected(self, data):
        """Classes by Pillow; None where it cannot read the file."""
        from PIL import Image

        try:
            picture = Image.open(io.BytesIO(data))
            picture.load()
        except Exception:
            return None
        depth = data[24]
        if picture.mode in ("RGB", "RGBA"):
            rgb = np.asarray(picture.convert("RGB")).astype(int)
            return self.table.class_of_color[(rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]]
        values = np.asarray(picture).astype(int)
        if picture.mode == "LA":
            values = values[..., 0]
        if picture.mode == "L" and depth < 8:
            values = values // (255 // ((1 << depth) - 1))
        by_index = self.table.class_of_id[values]
        if picture.mode == "P" and (by_index < 0).any():
            return self.table.class_of_color[self._packed(picture)[values]]
        return by_index

    @staticmethod
    def _packed(picture):
        palette = np.zeros(768, int)
        given = picture.getpalette("RGB")[:768]
        palette[: len(given)] = given
        palette = palette.reshape(-1, 3)
        return (palette[:, 0] << 16) | (palette[:, 1] << 8) | palette[:, 2]


class Photos:
    """Photos: a picture of bytes, of the size in the file, or an error."""

    def __init__(self, folder):
        from fixtures_data import photo

        picture = photo(24, 32)[..., ::-1]
        endings = (".jpg", ".png", ".webp", ".tiff", ".bmp", ".ppm")
        self.good = [cv2.imencode(ending, picture)[1].tobytes() for ending in endings]
        deep = picture.astype(np.uint16) * 257
        self.good += [cv2.imencode(ending, deep)[1].tobytes() for ending in (".png", ".tiff")]
        clear = np.concatenate([picture, np.full((24, 32, 1), 90, np.uint8)], -1)
        self.good += [cv2.imencode(ending, clear)[1].tobytes() for ending in (".png", ".webp", ".tiff")]

    def trial(self, rng):
        """Reads one changed photo."""
        from semantic_synthesis.data.decoding import check_upright, decode_image, open_pixels

        data = changed(rng.choice(self.good), rng)
        if data.startswith(b"\x89PNG") and rng.random() < 0.7:
            data = with_right_checksums(data)
        check_upright(data, "p.jpg")
        found = decode_image(data, "p.jpg")
        if (
            found.dtype != np.uint8
            or found.ndim != 3
            or found.shape[2] != 3
            or not 0 <= open_pixels(data) <= found.size
        ):
            raise Wrong(f"{found.dtype} {found.shape}: {data.hex()}")


def changed_json(values, rng):
    """JSON values with some places replaced, deleted or doubled."""
    values = copy.deepcopy(values)
    for _ in range(rng.choice([1, 1, 2, 3])):
        inside, path = values, []
        while isinstance(inside, (dict, list)) and inside and rng.random() < 0.85:
            key = rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
            path.append((inside, key))
            inside = inside[key]
        if not path:
            continue
        holder, key = path[-1]
        how = rng.randrange(4)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.deepcopy(rng.choice([*_ODD, rng.randrange(-2, 300)]))
    return values


class Tables:
    """Descriptions and class tables: a table whose values are those of the JSON, or an error."""

    def __init__(self, folder):
        self.description = {
            "name": "town", "unknown_id": 255, "instance_none_id": 0, "instances": "supplied", "exif": "stored",
            "classes": [{"id": 0, "name": "sky", "color": [1, 2, 3]}, {"id": [7, 9], "name": "road"}, {"id": 4}],
            "options": {"crop_size": 256}, "dataroot": ".",
            "splits": {"train": {"image": "i/{stem}.*", "label": "l/{stem}.*", "list": "a.txt"}, "val": "train"},
        }  # fmt: skip

    def trial(self, rng):
        """Reads one changed description, and its table as a run stores it."""
        from semantic_synthesis.data import ClassTable
        from semantic_synthesis.data.catalogue import parse_description

        values = changed_json(self.description, rng)
        table = parse_description(values, "town.json").table
        if table is None:
            return
        for index, entry in enumerate(values["classes"]):
            ids = entry["id"] if isinstance(entry["id"], list) else [entry["id"]]
            if (
                any(table.class_of_id[i] != index for i in ids)
                or (table.class_of_id >= table.num_classes).any()
            ):
                raise Wrong(f"another class than {values}")
        stored = table.to_dict()
        if ClassTable.from_dict(json.loads(json.dumps(stored))).to_dict() != stored:
            raise Wrong(f"does not come back: {stored}")
        ClassTable.from_dict(changed_json(stored, rng))


class Configs:
    """A run's config.json: the options that the JSON holds, or an error."""

    def __init__(self, folder):
        from helpers import tiny_config

        self.folder = f"{folder}/configs"
        tiny_config(self.folder, use_vae=True).save(self.folder)
        self.path = Path(self.folder, "config.json")
        self.text = self.path.read_text()

    def trial(self, rng):
        """Loads one changed config."""
        from semantic_synthesis.runs import load_config

        if rng.random() < 0.7:
            values = changed_json(json.loads(self.text), rng)
            self.path.write_text(json.dumps(values))
        else:
            self.path.write_bytes(changed(self.text.encode(), rng))
        config = load_config(self.folder)
        stored = json.loads(self.path.read_text(encoding="utf-8-sig"))
        for name, value in stored.items():
            kept = getattr(config, name, value)
            if name not in ("checkpoint_dir", "class_table") and value is not None and kept != value:
                raise Wrong(f"{name} is {value!r} in the file and {kept!r} when loaded")


class Checkpoints:
    """The newest checkpoint of a training: the same arrays, or an error."""

    def __init__(self, folder):
        from helpers import shallow_networks, tiny_config

        from semantic_synthesis import runs
        from semantic_synthesis.data import open_dataset
        from semantic_synthesis.training import Trainer, make_strategy

        self.folder = Path(folder, "checkpoints")
        self._shallow = shallow_networks
        with shallow_networks():
            config = tiny_config(self.folder, use_vae=True, crop_size=16, encoder_size=8, total_steps=2)
            trainer = Trainer(config, open_dataset(config), make_strategy("none"))
            config.save(self.folder)
            for step in (1, 2):
                trainer.step.assign(step)
                trainer.checkpoints.save(step)
            self.model = runs.build_method(config, training=False)
        self.good = {p.name: p.read_bytes() for p in self.folder.iterdir() if p.is_file()}
        self.names = [name for name in self.good if name.startswith(("ckpt-2", "checkpoint"))]
        self.expected = self._loaded()

    def _loaded(self):
        from semantic_synthesis import runs
        from semantic_synthesis.layers.naming import named_variables

        runs.load_weights(self.model, str(self.folder))
        return {name: variable.numpy() for name, variable in named_variables(self.model).items()}

    def trial(self, rng):
        """Loads the run after a change of one of its files."""
        name = rng.choice(self.names)
        path = self.folder / name
        how = rng.random()
        if how < 0.1:
            path.unlink()
        elif how < 0.2:
            path.write_bytes(bytes(len(self.good[name])))
        else:
            path.write_bytes(changed(self.good[name], rng))
        try:
            found = self._loaded()
        finally:
            path.write_bytes(self.good[name])
        if any((found[name] != array).any() for name, array in self.expected.items()):
            raise Wrong(f"{name}: other weights, silently")


KINDS = {"labels": Labels, "photos": Photos, "tables": Tables, "configs": Configs, "checkpoints": Checkpoints}


def campaign(kind, folder, trials, seconds, seed, report):
    """Trials of one kind; writes what it found to the file `report` as it goes."""

    def late(_number, _frame):
        raise Wrong(f"more than {_HANG_S} s")

    signal.signal(signal.SIGALRM, late)
    os.dup2(
        os.open(f"{folder}/log.txt", os.O_WRONLY | os.O_CREAT), 2
    )  # libraries comment on every damaged file
    subject, counts, faults = KINDS[kind](folder), {"read": 0, "refused": 0}, []
    end = time.monotonic() + seconds
    for number in range(trials):
        if time.monotonic() > end:
            break
        if number % 50 == 0:
            Path(report).write_text(json.dumps([number, counts, faults]))
        try:
            signal.alarm(_HANG_S)
            try:
                subject.trial(random.Random(f"{seed} {number}"))
            finally:
                signal.alarm(0)  # before anything else, so that it cannot ring while a fault is noted
            counts["read"] += 1
        except (ValueError, OSError) as error:
            counts["refused"] += 1
            if (
                "\n" in str(error)
                or not str(error)
                or isinstance(error, (UnicodeError, json.JSONDecodeError))
            ):
                faults.append(f"trial {number}: no line for users: {error!r}")
        except Exception as error:
            faults.append(f"trial {number}: {type(error).__name__}: {str(error)[:600]}")
    Path(report).write_text(json.dumps([sum(counts.values()) + len(faults), counts, faults]))


def main():
    """Runs the campaigns and prints a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--trials", type=int, default=100_000, help="of each kind")
    parser.add_argument(
        "--seconds", type=float, default=3600, help="end after this time, shared by the kinds"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds, failed = options.kinds.split(","), False
    common.preload()
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            report = f"{folder}/{kind}.json"
            seconds = options.seconds / len(kinds)
            ended = common.in_child(campaign, kind, folder, options.trials, seconds, options.seed, report)
            number, counts, faults = (
                json.loads(Path(report).read_text()) if os.path.exists(report) else (0, {}, [])
            )
            faults += [] if ended else [f"the process died within 50 trials of trial {number}"]
            print(
                f"{kind}: {number} trials, {counts}, {len(faults)} faults",
                *faults[:8],
                sep="\n  ",
                flush=True,
            )
            failed |= bool(faults)
            shutil.rmtree(f"{folder}/{kind}", ignore_errors=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
