"""Canvases of the original scripts, given their random choices: pictures, labels and who owns which pixel."""

import zlib

import numpy as np
import pytest
import sims_golden as golden
import tensorflow as tf
from test_golden_sims_order import cityscapes
from test_golden_sims_segments import THIN, kinds

from semantic_synthesis.methods.sims import canvas as canvases
from semantic_synthesis.methods.sims.config import SIMSConfig
from semantic_synthesis.methods.sims.segments import find_segments

CASTERS = [13, 14, 15, 16]


def unpacked(bits, height):
    return np.unpackbits(bits).reshape(height, 2 * height).astype(bool)


def original_labels(label):
    """Ids -> known classes; 19 unlabelled, 20 the colour of no class."""
    label = label.astype(np.int32)
    return np.where(label == 20, 20, np.where(label == 0, 19, label - 1))


class Case:
    """One test image: what the original's canvas script read."""

    def __init__(self, height, image):
        self.height, self.image, self.scale = height, image, height // 256
        self.given, self.search = golden.arrays("canvas"), golden.arrays("retrieval")
        self.key = f"c{height}_{image}"
        label = self.given["test_label"][image]
        self.segments = find_segments(*[tf.constant(kinds(label)[None])] * 2, THIN)
        self.label = self.large(original_labels(label))
        table = golden.arrays("segments")["components"]
        self.slices = table[(table[:, 0] == 1) & (table[:, 1] == image)]

    def large(self, map_):
        return golden.enlarge(map_, self.scale)

    def photo(self, image):
        rgb = self.large(self.given["train_rgb"][image])
        if self.scale == 2:
            odd = (np.add.outer(np.arange(512), np.arange(1024)) & 1).astype(np.uint8)[..., None]
            rgb = np.where(rgb > 0, rgb ^ odd, rgb)
        return rgb

    def row(self, kind, slice_):
        """Number among our segments, None for the empty slices."""
        number = slice_ - np.isin(kind, [6, 7, 8])
        found = np.flatnonzero((self.segments.kind == kind - 1) & (self.segments.number == number))
        return int(found[0]) if len(found) else None

    def place(self, kind, slice_):
        row = self.row(kind, slice_)
        if row is None:
            return np.zeros((self.height, 2 * self.height), bool)
        return self.large(self.segments.map[0].numpy() == row)

    def pole(self, i):
        """The pole mask of the best slot of accepted segment i."""
        kind, slice_ = self.kind[i], self.slice[i]
        rows = self.search["query"]
        query = np.flatnonzero((rows[:, :3] == [self.image, kind, slice_]).all(1))[0]
        best = self.search["iou"][query].argmax()
        assert self.search["response_image"][query, best] == self.response[i]
        table, bits = golden.arrays("segments")["components"], golden.arrays("segments")["pole_bits"]
        wanted = [0, self.response[i] - 1, kind, self.search["response_slice"][query, best]]
        return self.large(unpacked(bits[np.flatnonzero((table[:, :4] == wanted).all(1))[0]], 256))

    kind = property(lambda self: self.search[f"t{self.image}_class"].astype(int))
    slice = property(lambda self: self.search[f"t{self.image}_original_index"].astype(int))
    response = property(lambda self: self.search[f"t{self.image}_response_image"].astype(int))

    def still(self, i):
        footprint = self.large(unpacked(self.search[f"t{self.image}_footprint_bits"][i], 256))
        return self.photo(self.response[i] - 1) * footprint[..., None]

    def moved(self, i):
        dx, dy, fill = self.given[f"{self.key}_transferred_rule"][i]
        height, width = self.height, 2 * self.height
        if fill:
            place, k = self.place(self.kind[i], self.slice[i]), self.scale
            low, high = {2: (60, 84), 3: (72, 100)}[i]
            place[low * k : high * k] = True
            y, x = np.mgrid[:height, :width]
            colour = np.stack([40 + (y // k) % 64, 90 + (x // k) % 128, np.full_like(x, 60 + i)], -1)
            out = (colour * place[..., None]).astype(np.uint8)
        else:
            source, out = self.still(i), np.zeros((height, width, 3), np.uint8)
            y, x = np.mgrid[:height, :width]
            y, x = y + dy, x + dx
            inside = (y >= 0) & (y <= height - 2) & (x >= 0) & (x <= width - 2)
            out[inside] = source[y[inside], x[inside]]
        assert zlib.crc32(out.tobytes()) == self.given[f"{self.key}_transferred_crc32"][i]
        return out

    def casters(self, i):
        return self.large(np.isin(kinds(self.given["train_label"][self.response[i] - 1]), CASTERS))

    def in_front(self, i):
        """bool [accepted]: earlier pieces that the network's answers put before piece i, by the original's key."""
        pairs = golden.arrays("order")[f"test_pairs{self.image}"].astype(int)
        answer = self.given[f"c256_{self.image}_prediction"].argmax(1)
        found = np.zeros(len(self.kind), bool)
        for j in range(i):
            key = [self.slice[j], i + 1, self.kind[j], self.kind[i]]
            match = np.flatnonzero((pairs == key).all(1))
            found[j] = any(answer[m] == self.kind[j] for m in match)
        return found


def composed(case):
    """The case's canvas, and footprints per accepted segment."""
    groups, rims = cityscapes(), canvases.Rims.of(SIMSConfig(), case.height)
    canvas, prints = canvases.Canvas.empty(tf.constant(case.label)), []
    flags = case.search[f"t{case.image}_all_class_flag"]
    rest = [case.search[f"t{case.image}_{n}_remained"].astype(int) for n in ("class", "original_index")]
    white = case.given[f"{case.key}_white_bits"]
    for sort, row in flags:
        i = int(row) - 1
        if sort == 2:
            kind, slice_ = rest[0][i], rest[1][i]
            canvas = canvases.clear(canvas, kind - 1, tf.constant(case.place(kind, slice_)))
            continue
        as_float = [
            tf.constant(x.astype(np.float32) / np.float32(255)) for x in (case.moved(i), case.still(i))
        ]
        piece = canvases.Piece(
            tf.constant(int(case.kind[i]) - 1),
            tf.constant(case.place(case.kind[i], case.slice[i])),
            tf.constant(case.pole(i)),
            *as_float,
            tf.constant(case.casters(i)),
            tf.constant(unpacked(white[i], case.height)),
        )
        cut = canvases.legacy_cut(tf.constant(case.kind - 1), tf.constant(case.in_front(i)))
        covered = tf.reduce_any(canvases.nearer(piece) != 0, -1)
        prints.append(tf.cast(covered, tf.int32) - cut(covered, canvas.owner))
        before = canvas.owner
        canvas = canvases.paste(canvas, piece, i, rims, groups, cut)
        np.testing.assert_array_equal(canvas.owner, np.where(prints[-1] == 1, i, before))
    done = canvases.finished(canvas, tf.constant(case.label), rims, groups, legacy=True)
    return canvas, done, np.stack(prints)


def check(height, image):
    case = Case(height, image)
    before, after, prints = composed(case)
    if height == 256:
        np.testing.assert_array_equal(prints, case.given[f"{case.key}_footprint"])
    expected = case.given[f"{case.key}_label"].astype(int)
    expected = np.where(expected == 20, 20, (expected - 1) % 20)
    np.testing.assert_array_equal(after.label, expected)
    lost = (before.picture.numpy() != after.picture.numpy()).any(-1)
    outer = unpacked(case.given[f"{case.key}_outer_bits"], height)
    assert (lost & ~outer).sum() == (outer & ~lost).sum() == 0
    expected = (case.given[f"{case.key}_canvas_u16"] / 255.0).astype(np.float32)
    np.testing.assert_allclose(after.picture, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "image"), [(256, 0), (256, 1), (256, 2), (512, 0)])
def test_canvas(height, image):
    check(height, image)
