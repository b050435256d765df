"""Instance maps: ids made consecutive per sample, and maps made from label maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np


def compact(instance: np.ndarray, none_id: int | None = None) -> np.ndarray:
    """Raw ids int [H, W] -> int32 [H, W] of 1..I in the order of the raw ids; `none_id` becomes 0."""
    instance = np.asarray(instance)
    if instance.size and instance.min() >= 0 and instance.max() <= 65535:
        present = np.zeros(int(instance.max()) + 1, bool)
        present[instance] = True
        if none_id is not None and none_id < len(present):
            present[none_id] = False
        ranks = np.cumsum(present, dtype=np.int32)
        if none_id is not None and none_id < len(present):
            ranks[none_id] = 0
        return ranks[instance]
    values, inverse = np.unique(instance, return_inverse=True)
    ranks = inverse.reshape(instance.shape).astype(np.int32) + 1  # [H, W]
    if none_id is not None and none_id in values:
        ranks -= ranks > np.searchsorted(values, none_id)
        ranks[instance == none_id] = 0
    return ranks


def without_none(instance: np.ndarray, none_id: int | None) -> np.ndarray:
    """Raw ids [H, W] as pictures are made of them: pixels of `none_id`, the dataset's value for no object, are 0."""
    return np.where(instance == none_id, 0, instance) if none_id else instance


def file_objects(instance: np.ndarray, none_id: int | None) -> np.ndarray:
    """As `without_none`, of a dataset's own file: where `none_id` occurs in it, 0 is an object, as it is in training,
    and takes the number behind the largest. Maps that know 0 alone as no object, such as painted ones, keep it so."""
    none = instance == none_id
    if not none_id or not none.any():
        return instance
    return np.where(none, 0, np.where(instance == 0, instance.max().astype(np.int64) + 1, instance))


def regions(label: np.ndarray, instance: np.ndarray | None = None) -> np.ndarray:
    """Every pixel's region: its object, or its class where there is none. int32 [H, W] of 0..R-1.

    label: class ids int [H, W]; instance: raw ids [H, W] or None; 0 marks pixels of no object (in maps where
    0 is a class or an object like others, that makes the same regions). Regions of classes come first, in
    the order of the ids, then objects in the order of theirs.
    """
    label = np.asarray(label)
    if instance is None:
        return compact(label) - 1
    objects = compact(instance, 0)
    return compact(np.where(objects > 0, label.max() + objects, label)) - 1


def class_ranks(label: np.ndarray) -> np.ndarray:
    """INADE's maps for datasets without objects: each class of the picture is one instance, 0..n-1."""
    return np.unique(label, return_inverse=True)[1].reshape(label.shape).astype(np.uint16)


def connected_components(label: np.ndarray) -> np.ndarray:
    """Each 8-connected region of one class is an instance: int32 [H, W] of 1..I, no 0."""
    instance, count = np.zeros(label.shape, np.int32), 0
    for value in np.unique(label):
        inside = label == value
        parts_and_rest, parts = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
        instance[inside] = parts[inside] + count
        count += parts_and_rest - 1
    return instance


def polygon_mask(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool [height, width]: pixel centres inside a polygon by the even-odd rule, its edges included.

    points: float [N, 2] of x, y in pixels, where a pixel's centre has whole numbers.
    """
    mask = np.zeros((height, width), bool)
    x, y = np.asarray(points, float).T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    for row in range(max(0, int(np.ceil(y.min()))), min(height - 1, int(np.floor(y.max()))) + 1):
        crosses = (y <= row) != (next_y <= row)
        at = x[crosses] + (row - y[crosses]) * (next_x - x)[crosses] / (next_y - y)[crosses]
        for start, end in np.sort(at).reshape(-1, 2):
            mask[row, max(0, int(np.ceil(start))) : max(0, int(np.floor(end)) + 1)] = True
    return mask


def _is_polygons(annotation):
    return isinstance(annotation.get("segmentation"), list)


def run_length_mask(shape: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """bool [height, width] of COCO's {"size", "counts"}: runs of 0 and 1 by turns, down the columns.

    counts: a list, or the text that pycocotools packs it into. ValueError where they do not fill the picture.
    """
    counts = shape["counts"] if isinstance(shape["counts"], list) else _unpacked(shape["counts"])
    if list(shape["size"]) != [height, width] or sum(counts) != height * width or min(counts) < 0:
        raise ValueError(
            f"run lengths of size {shape['size']}; expected those of a picture of {[height, width]}"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _unpacked(text):
    """Run lengths from COCO's text: five bits a letter, from the fourth on differences to the last but one."""
    counts, value, shift = [], 0, 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (bits & 16) << (shift - 4)
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def coco_polygons(label: np.ndarray, annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """SPADE's maps for COCO: the stuff-thing map, over it one number per object; crowds as run lengths are passed over.

    label: raw ids [H, W]. annotations: the picture's COCO annotations, in their order. Coordinates are
    taken minus 1 as in SPADE's script. There the counter starts at 0 and collides with stuff ids; here
    objects count from 256, so int32 [H, W] keeps every edge.
    """
    instance = label.astype(np.int32)
    shapes = (a.get("segmentation") for a in annotations if not (a.get("iscrowd") and not _is_polygons(a)))
    for number, shape in enumerate(filter(None, shapes), start=256):
        if isinstance(shape, dict):
            instance[run_length_mask(shape, *label.shape)] = number
            continue
        for part in shape:
            points = np.asarray(part, float).reshape(-1, 2) - 1
            instance[polygon_mask(points, *label.shape)] = number
    return instance
