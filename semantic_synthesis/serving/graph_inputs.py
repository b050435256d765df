"""What requests to an exported graph hold, checked and decoded: class ids, map files, photos, and layouts of them.

Whatever is wrong ends as InvalidArgument with a text that starts with "DataError: ".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from semantic_synthesis import data
from semantic_synthesis.data.geometry import MOST_PIXELS
from semantic_synthesis.data.graph_decoding import (
    decode_instance_png,
    decode_label_png,
    decode_photo,
    fit_map,
    fit_photo,
    number_regions,
    pad_maps,
    require,
)
from semantic_synthesis.serving.graph_checks import (
    check_exact,
    check_files_alike,
    check_like,
    check_upright,
    each_row,
)

if TYPE_CHECKING:
    from semantic_synthesis.methods.method import Method

_MAP_SIZES, _PHOTO_SIZES = 64, 1024  # of the model's own picture: the largest files that are unpacked
_SHOWN_IDS = 20


class InputReader:
    """Reads the inputs of one model's signatures.

    config, method, size: as for `graph.ServingGraph`. Rows are dicts of tensors with N before all other axes.
    """

    def __init__(self, config: Any, method: Method, size: tuple[int | None, int | None]) -> None:
        self.table = data.ClassTable.from_dict(config.class_table)
        self.native = (config.crop_height, config.crop_size)
        self.height, self.width = size
        self.most_map = _MAP_SIZES * self.height * self.width if self.height and self.width else MOST_PIXELS
        self.most_photo = _PHOTO_SIZES * self.native[0] * self.native[1]
        maps = method.instance_maps(config)
        self.takes_instances = maps is not None and not config.no_instance
        self._numbers_regions, self._none_id = maps == "regions", config.instance_none_id
        self._stride = method.stride
        # Shared by all signatures: traced and stored once.
        self._readers: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {}
        self._numbered = tf.function(number_regions, autograph=False)

    def checked_maps(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The inputs with label and instance maps of a right size and known class ids."""
        sized = {
            name: self._check_size(inputs[name], name) for name in ("label", "instance") if name in inputs
        }
        known = {"label": self._check_ids(sized["label"])} if "label" in sized else {}
        return inputs | sized | known

    def decoded(self, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Rows of files -> rows of maps and photos of the model's sizes; seeds and styles as they are."""
        rows = check_files_alike(rows, "label_png_bytes", "instance_png_bytes")
        own = "the label map of that photo"
        rows = check_files_alike(rows, "style_image_bytes", "style_label_png_bytes", own)

        def decode(name, reader):
            spec = tf.TensorSpec([self.height, self.width], tf.int32)
            read = self._shared(name, lambda png: self._fit_map(reader(png, name, self.most_map), name))
            return each_row(read, rows[name], spec)

        def classes(png, name, most_pixels):
            return decode_label_png(png, self.table, name, most_pixels)

        def objects(png, name, most_pixels):
            return decode_instance_png(png, name, most_pixels, self._none_id)

        known = {name: x for name, x in rows.items() if x.dtype != tf.string}
        if "label_png_bytes" in rows:
            known["label"] = decode("label_png_bytes", classes)
        if "instance_png_bytes" in rows:
            known["instance"] = decode("instance_png_bytes", objects)
        if "style_image_bytes" in rows:
            spec = tf.TensorSpec([*self.native, 3], tf.uint8)
            read = self._photo_of_map if "style_label_png_bytes" in rows else self._photo
            known["image"] = each_row(read, rows["style_image_bytes"], spec)
        if "style_label_png_bytes" in rows:
            known["style_label"] = decode("style_label_png_bytes", classes)
        return known

    def layout(self, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The method's layout of checked maps."""
        layout = {"label": rows["label"]}
        if self.takes_instances:
            objects, none = check_like(rows["instance"], rows["label"]), self._none_id
            layout["instance"] = tf.where(objects == none, 0, objects) if none else objects
        layout = {name: pad_maps(x, self._stride) for name, x in layout.items()}
        if self._numbers_regions:
            objects = layout.get("instance", tf.zeros_like(layout["label"]))
            spec = tf.TensorSpec(layout["label"].shape[1:], tf.int32)
            layout["instance"] = each_row(
                lambda maps: self._numbered(*maps), (layout["label"], objects), spec
            )
        return layout

    def photo_layout(self, label: tf.Tensor) -> dict[str, tf.Tensor]:
        """The layout that a photo of a label map [N,H,W] shows, without objects."""
        objects = {"instance": tf.zeros_like(label)} if self.takes_instances else {}
        return self.layout({"label": label} | objects)

    def _photo_of_map(self, photo):
        return self._photo(check_upright(photo, "style_image_bytes"))

    def _photo(self, photo):
        def read(photo):
            return fit_photo(decode_photo(photo, "style_image_bytes", self.most_photo), *self.native)

        return self._shared("style_image_bytes", read)(photo)

    def _shared(self, name, read):
        """The one reader of an input's bytes, string []."""
        if name not in self._readers:
            self._readers[name] = tf.function(read, [tf.TensorSpec([], tf.string)], autograph=False)
        return self._readers[name]

    def _check_size(self, ids, name):
        """Integer [N,h,w] -> the same with the size checked and, where fixed, known."""
        if self.height:
            return check_exact(ids, name, self.height, self.width)
        with tf.control_dependencies([_require_pixels(tf.shape(ids)[1:], name)]):
            return tf.identity(ids)

    def _check_ids(self, label):
        """Integer [N,H,W] -> int32, all in [0,C)."""
        label = tf.cast(label, tf.int32)
        wrong = (label < 0) | (label >= self.table.num_classes)
        found = tf.sort(tf.unique(tf.boolean_mask(label, wrong))[0])[:_SHOWN_IDS]
        listed = tf.strings.reduce_join(tf.strings.as_string(found), separator=", ")
        check = require(
            tf.size(found) == 0,
            "label: class ids ",
            listed,
            f" unknown; allowed are 0 to {self.table.num_classes - 1} (class_table.json lists them)",
        )
        with tf.control_dependencies([check]):
            return tf.identity(label)

    def _fit_map(self, ids, name):
        """int32 [h,w] -> the model's size: by nearest as data.fit_label where fixed, else checked."""
        if self.height:
            return tf.ensure_shape(fit_map(ids, self.height, self.width), [self.height, self.width])
        with tf.control_dependencies([_require_pixels(tf.shape(ids), name)]):
            return tf.identity(ids)


def _require_pixels(size, name):
    fits = tf.reduce_all(size > 0) & (tf.reduce_prod(tf.cast(size, tf.int64)) <= MOST_PIXELS)
    return require(
        fits,
        f"{name}: ",
        size[1],
        "x",
        size[0],
        f" pixels; expected at least 1 and at most {MOST_PIXELS} pixels",
    )
