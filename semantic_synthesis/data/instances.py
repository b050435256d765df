"""Instance maps: ids made consecutive per sample, and maps made from label maps."""

import cv2
import numpy as np


def compact(instance, none_id=None):
    """Raw ids int [H, W] -> int32 [H, W] of 1..I in the order of the raw ids; `none_id` becomes 0."""
    instance = np.asarray(instance)
    if instance.size and 0 <= instance.min() and instance.max() <= 65535:
        present = np.zeros(int(instance.max()) + 1, bool)
        present[instance] = True
        if none_id is not None and none_id < len(present):
            present[none_id] = False
        ranks = np.cumsum(present, dtype=np.int32)
        if none_id is not None and none_id < len(present):
            ranks[none_id] = 0
        return ranks[instance]
    values, ranks = np.unique(instance, return_inverse=True)
    ranks = ranks.reshape(instance.shape).astype(np.int32) + 1  # [H, W]
    if none_id in values:
        ranks -= ranks > np.searchsorted(values, none_id)
        ranks[instance == none_id] = 0
    return ranks


def class_ranks(label):
    """INADE's maps for datasets without objects: each class of the picture is one instance, 0..n-1."""
    return np.unique(label, return_inverse=True)[1].reshape(label.shape).astype(np.uint16)


def connected_components(label):
    """Each 8-connected region of one class is an instance: int32 [H, W] of 1..I, no 0."""
    instance, count = np.zeros(label.shape, np.int32), 0
    for value in np.unique(label):
        inside = label == value
        parts_and_rest, parts = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
        instance[inside] = parts[inside] + count
        count += parts_and_rest - 1
    return instance
