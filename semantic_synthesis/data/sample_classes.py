"""What a map's stored values mean: ids, colours and palette indices -> class indices of a table.

Classes are uint8 [H, W], or uint16 for tables of more than 256. Errors: DataError, one line that names the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .errors import DataError
from .tables import NO_CLASS, ClassTable, describe_ids, pack_colors


def classes_of_ids(samples: np.ndarray, table: ClassTable, source: str | Path) -> np.ndarray:
    """Raw ids, uint8 or uint16 [H, W] -> classes; ids that are not in the table are errors."""
    if table.is_identity:
        known = samples.max() < table.num_classes
        classes = samples
    else:
        classes = np.take(table.class_of_id, samples)  # [H, W]
        known = classes.min() != NO_CLASS
    if not known:
        raise DataError(_unknown_ids_message(source, np.unique(samples), table))
    return classes if classes is samples else classes.astype(_small_type(table))


def _small_type(table):
    return np.uint8 if table.num_classes <= 256 else np.uint16


def classes_of_colors(rgb: np.ndarray, table: ClassTable, source: str | Path) -> np.ndarray:
    """RGB uint8 [H, W, 3] -> classes; colours must be exactly the table's."""
    packed = pack_colors(rgb)  # [H, W]
    classes = np.take(table.class_of_color, packed)  # [H, W]
    wrong = classes == NO_CLASS
    if wrong.any():
        raise DataError(_unknown_color_message(source, rgb, packed, wrong, table))
    return classes.astype(_small_type(table))


def _unknown_color_message(source, rgb, packed, wrong, table):
    row, column = np.argwhere(wrong)[0]
    color = rgb[row, column].astype(int)
    known, classes = table.colors_of_classes
    nearest = np.argmin(np.sum((known.astype(int) - color) ** 2, axis=1))
    count, kinds = int(wrong.sum()), len(np.unique(packed[wrong]))
    message = (
        f"{source}: colour {tuple(color.tolist())} at row {row}, column {column} is not in class table"
        f" '{table.name}' (nearest: {table.names[classes[nearest]]} {tuple(known[nearest].tolist())});"
        f" {kinds} unknown colours on {count} of {wrong.size} pixels; "
    )
    if (packed[wrong] & 0xFF == packed[wrong] >> 16).all() and kinds <= table.num_classes:
        return message + "if the file holds class ids, save it with one channel instead of three"
    if kinds > 256 and count > wrong.size // 2:
        return message + "this looks like a photo: check which folder holds the label maps"
    if count < wrong.size // 2:
        return message + "smoothed edges or a resized map: export without anti-aliasing, resize with nearest"
    return message + "add the colours to the class table"


def classes_of_palette(
    samples: np.ndarray, palette: np.ndarray, table: ClassTable, source: str | Path
) -> np.ndarray:
    """Palette indices uint8 [H, W], colours [N, 3] -> classes: the indices are the ids, unless only the colours fit.

    If indices and colours both fit the table but say different classes, the file is refused.
    """
    used = np.flatnonzero(np.bincount(samples.ravel(), minlength=256))
    if used[-1] >= len(palette):
        raise DataError(f"{source}: damaged PNG, palette index {used[-1]} of {len(palette)} colours")
    by_color = np.full(256, NO_CLASS, np.int32)
    by_color[: len(palette)] = table.class_of_color[pack_colors(palette)]
    by_index = table.class_of_id[:256]
    index_fits, color_fits = (by_index[used] != NO_CLASS).all(), (by_color[used] != NO_CLASS).all()
    if index_fits and color_fits and (by_index[used] != by_color[used]).any():
        at = used[by_index[used] != by_color[used]][0]
        raise DataError(
            f"{source}: palette PNG with two meanings: index {at} is class '{table.names[by_index[at]]}',"
            f" its colour is class '{table.names[by_color[at]]}'; save it as one-channel ids or as RGB"
        )
    if not index_fits and not color_fits:
        message = _unknown_ids_message(source, used, table)
        raise DataError(message + "; the palette's colours are not the table's either")
    return (by_index if index_fits else by_color)[samples].astype(_small_type(table))


def _unknown_ids_message(source, found, table):
    """The error line for ids that the class table does not have."""
    unknown = [int(i) for i in found if table.class_of_id[i] == NO_CLASS]
    message = (
        f"{source}: label ids {describe_ids(unknown)} are not in class table '{table.name}';"
        f" found {describe_ids(found)}, allowed {describe_ids(table.ids_of_classes[0])}; "
    )
    if unknown == [255]:
        return message + 'if 255 marks unlabelled pixels, give the class table "unknown_id": 255'
    if table.is_identity and unknown == [table.num_classes] and 0 not in found:
        return message + "the ids seem to start at 1: subtract 1, or list the raw ids in the class table"
    if len(found) > 100:
        return (
            message
            + "so many ids look like a photo or an instance map: check which folder holds the label maps"
        )
    return message + "add the missing ids to the class table, or check that the label maps belong to it"
