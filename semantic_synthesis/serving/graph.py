"""The signatures of an exported model: pictures from label ids or PNG bytes, styles from photos.

Rows (the first dimension of every input) are independent: each has its own seed, and its pixels do not
depend on the rows it travels with, because rows are computed one after another with the same shapes.
`batch_rows` computes them together instead, which is faster on GPUs and moves single pixels by 1/255.
Whatever a client can get wrong ends as InvalidArgument with a text that starts with "DataError: ".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from semantic_synthesis.data.graph_decoding import require
from semantic_synthesis.serving.bare import picture_function
from semantic_synthesis.serving.graph_checks import check_exact, check_shape, each_row, finite, same_rows
from semantic_synthesis.serving.graph_inputs import InputReader
from semantic_synthesis.styles import REGION, encoded_names, merge_style, needs_regions, transfer

if TYPE_CHECKING:
    from semantic_synthesis.methods.method import Method


class ServingGraph:
    """Traces the signatures of one run.

    config: of the run; method: its folded model; size: (height, width) of the pictures, or (None, None)
    where they are free (other sizes than multiples of the stride are padded within: `pad_maps`);
    label_dtype: tf.uint8 or tf.int32; batch_rows: rows together instead of one by one;
    image_dtype: of the bare signature (bare.py).
    """

    def __init__(
        self,
        config: Any,
        method: Method,
        size: tuple[int | None, int | None],
        label_dtype: tf.DType,
        batch_rows: bool = False,
        image_dtype: tf.DType = tf.uint8,
    ) -> None:
        self.config, self.method, self.label_dtype = config, method, label_dtype
        self.batch_rows, self.image_dtype = batch_rows, image_dtype
        self._rows = None if batch_rows else 1
        self.reader = reader = InputReader(config, method, size)
        self.table, self.native, self.most_map = reader.table, reader.native, reader.most_map
        self.takes_instances = reader.takes_instances
        self.height, self.width = size
        self.stride = method.stride
        self.specs = method.style_shapes
        self.by_region = needs_regions(self.specs)
        self.style = {
            name: tf.TensorSpec([None, *spec.shape], tf.float32, name) for name, spec in self.specs.items()
        }
        # Shared by all signatures: traced and stored once.
        self._render = tf.function(self._pictures, autograph=False)
        self._encode = tf.function(method.encode_style, autograph=False)

    # Signatures

    def signatures(self) -> dict[str, Callable]:
        """{signature name: ConcreteFunction}; those of styles only for runs that have them."""
        found = {name: trace(function, specs) for name, (function, specs) in self.declared().items()}
        if not self.method.why_not_static:
            size = (self.height, self.width)
            bare, specs = picture_function(
                self.config, self.method, size, self.label_dtype, image_dtype=self.image_dtype
            )
            found["picture"] = bare.get_concrete_function(specs)
        return found

    def declared(self) -> dict[str, tuple[Callable[..., Any], dict[str, tf.TensorSpec]]]:
        """{signature name: (function of {input: tensor}, {input: TensorSpec})}, nothing traced yet."""
        maps = {"label": tf.TensorSpec([None, self.height, self.width], self.label_dtype, "label")}
        files = {"label_png_bytes": tf.TensorSpec([None], tf.string, "label_png_bytes")}
        if self.takes_instances:
            maps["instance"] = tf.TensorSpec([None, self.height, self.width], tf.int32, "instance")
            files["instance_png_bytes"] = tf.TensorSpec([None], tf.string, "instance_png_bytes")
        seed = {"seed": tf.TensorSpec([None], tf.int64, "seed")}
        photo = {"style_image_bytes": tf.TensorSpec([None], tf.string, "style_image_bytes")}
        found = {"serving_default": (self._from_ids, maps | seed), "png": (self._from_png, files | seed)}
        if self.style:
            found["synthesize_style"] = (self._from_ids, maps | self.style)
            found["png_synthesize_style"] = (self._from_png, files | self.style)
            found["sample_style"] = (self._sample, (maps if self.by_region else {}) | seed)
        if encoded_names(self.specs):
            shown = self.method.encoder_sees_layout
            image = {"image": tf.TensorSpec([None, *self.native, 3], tf.uint8, "image")}
            found["encode_style"] = (self._encode_images, image | (maps if shown else {}))
            found["png_style"] = (self._from_png, files | photo)
            found["png_encode_style"] = (self._styles_from_png, (files if shown else {}) | photo)
            if shown:
                own = {"style_label_png_bytes": tf.TensorSpec([None], tf.string, "style_label_png_bytes")}
                found["png_style_label"] = (self._from_png, files | photo | own)
                found["png_encode_style_label"] = (self._styles_from_png, files | photo | own)
        if self.by_region:
            found["regions"] = (self._number_regions, maps)
            found["png_regions"] = (self._regions_png, files)
            found["png_sample_style"] = (self._styles_from_png, files | seed)
        return found

    def _from_ids(self, inputs):
        """{label, (instance), seed or style} -> {image: uint8 [N,H,W,3]}."""
        inputs = self.reader.checked_maps(self._checked_styles(dict(same_rows(inputs))))
        output = tf.TensorSpec([self.height, self.width, 3], tf.uint8)
        return {"image": self._map_rows(self._synthesize, inputs, output)}

    def _checked_styles(self, inputs):
        """The inputs with style tensors of the right shape."""
        checked = {
            name: check_shape(inputs[name], spec, [f"{axis}s" for axis in self.specs[name].axes])
            for name, spec in self.style.items()
            if name in inputs
        }
        return inputs | checked

    def _sample(self, inputs):
        """{seed, (label, instance: where rows are of regions)} -> {style name: float32 [N,...]}."""
        return self._styles(self.reader.checked_maps(dict(same_rows(inputs))))

    def _number_regions(self, inputs):
        """{label, (instance)} -> {region: int32 [N,H,W]}: which row of the style paints each pixel."""
        inputs = self.reader.checked_maps(dict(same_rows(inputs)))
        output = tf.TensorSpec([self.height, self.width], tf.int32)

        def numbered(rows):
            return _cropped(self.reader.layout(rows)["instance"], rows["label"])

        return {"region": self._map_rows(numbered, inputs, output)}

    def _regions_png(self, inputs):
        """`_number_regions` of files: {label_png_bytes, (instance_png_bytes)} -> {region_png_bytes: [N]}, 16 bits."""
        output = tf.TensorSpec([], tf.string)
        return {"region_png_bytes": self._map_rows(self._region_rows, dict(same_rows(inputs)), output)}

    def _from_png(self, inputs):
        """{label_png_bytes, (instance_png_bytes), seed or style or style_image_bytes (style_label_png_bytes: the map of
        that photo, where it shows another layout)} -> {image_png_bytes: [N]}."""
        return {
            "image_png_bytes": self._map_rows(
                self._png_rows, self._checked_styles(dict(same_rows(inputs))), tf.TensorSpec([], tf.string)
            )
        }

    def _styles_from_png(self, inputs):
        """As `_sample` and `_encode_images`, of files: {(label_png_bytes, instance_png_bytes), seed or
        style_image_bytes, (style_label_png_bytes)} -> {style name: float32 [N,...], <name>_present: bool}."""
        return self._styles(self.reader.decoded(dict(same_rows(inputs))))

    def _encode_images(self, inputs):
        """{image: uint8 [N,H,W,3] of the run's size, (label, instance)} -> {style name: float32 [N,...]}, and
        <name>_present: bool, the rows that the photo decides, for tensors of which it may leave some open."""
        inputs = dict(same_rows(inputs))
        image = check_exact(inputs["image"], "image", *self.native)
        return self._styles(self.reader.checked_maps(inputs) | {"image": image})

    def _styles(self, inputs):
        """Styles of seeds or photos; rows with fewer regions than others are filled up with zeros."""
        photos = "image" in inputs
        names = encoded_names(self.specs) if photos else tuple(self.style)
        output = {name: tf.TensorSpec(self.style[name].shape[1:], tf.float32) for name in names}
        if photos:
            for name in names:
                moved = self.by_region and "style_label" in inputs and REGION in self.specs[name].axes
                if axes := self.specs[name].present or int(moved):
                    sizes = self.specs[name].shape[:axes]
                    output[f"{name}_present"] = tf.TensorSpec(sizes, tf.bool)
        if not self.by_region:
            return self._map_rows(self._tensors_of, inputs, output)
        spec = tf.TensorSpec([], tf.int32)
        counts = tf.map_fn(
            lambda row: tf.reduce_max(
                self.reader.layout(tf.nest.map_structure(lambda x: x[None], row))["instance"]
            ),
            {name: inputs[name] for name in ("label", "instance") if name in inputs},
            fn_output_signature=spec,
        )
        most = tf.reduce_max(counts) + 1

        def filled(rows):
            return {name: _filled(x, output[name].shape, most) for name, x in self._tensors_of(rows).items()}

        return self._map_rows(filled, inputs, output)

    def _tensors_of(self, rows):
        """{style name: [N,...], <name>_present: bool [N,...]}: of seeds all, of photos what these decide."""
        layout = self.reader.layout(rows) if "label" in rows else None
        if "image" not in rows:
            return self.method.sample_style(layout, rows["seed"])
        values, present = self._encoded(rows, layout)
        return values | {f"{name}_present": x for name, x in present.items()}

    def _encoded(self, rows, layout):
        """The Encoded of photos, of the layout itself or of their own one."""
        own = "style_label" in rows
        theirs = self.reader.photo_layout(rows["style_label"]) if own else layout
        seen = self._alike(theirs) if self.method.encoder_sees_layout else None
        image = tf.ensure_shape(rows["image"], [self._rows, *self.native, 3])
        encoded = self._encode(tf.cast(image, tf.float32) / 127.5 - 1.0, seen)
        if not (own and self.by_region):
            return encoded
        return transfer(encoded, self.specs, theirs, layout, self.table.num_classes)

    # Rows: each of these takes and returns batches

    def _map_rows(self, function, rows, output):
        """function on batches of one row after another, or on all rows at once."""
        if self.batch_rows:
            return function(rows)

        def one(row):
            result = function(tf.nest.map_structure(lambda x: x[None], row))
            return tf.nest.map_structure(lambda x: x[0], result)

        return tf.map_fn(one, rows, fn_output_signature=output, parallel_iterations=1)

    def _png_rows(self, rows):
        pictures = self._synthesize(self.reader.decoded(rows))
        return each_row(tf.io.encode_png, pictures, tf.TensorSpec([], tf.string))

    def _region_rows(self, rows):
        rows = self.reader.decoded(rows)
        regions = _cropped(self.reader.layout(rows)["instance"], rows["label"])[..., None]
        most = tf.reduce_max(regions) + 1
        check = require(
            most <= 1 << 16, "instance_png_bytes: ", most, " regions; a PNG of 16 bits tells 65536 apart"
        )
        with tf.control_dependencies([check]):
            regions = tf.cast(regions, tf.uint16)
        return each_row(tf.io.encode_png, regions, tf.TensorSpec([], tf.string))

    def _style_of(self, rows, layout):
        """The style of seeds or photos (what these leave open: of seed 0), or the one that was fed."""
        if "seed" not in rows and "image" not in rows:
            return {name: self._enough_rows(finite(rows[name], name), name, layout) for name in self.style}
        if "image" not in rows:
            return self.method.style_of(layout, rows["seed"])
        seed = tf.zeros(tf.shape(layout["label"])[:1], tf.int64)
        return merge_style(self.method.sample_style(layout, seed), self._encoded(rows, layout))

    def _synthesize(self, rows):
        layout = self.reader.layout(rows)
        style = self._style_of(rows, layout)
        style = {
            name: tf.ensure_shape(x, [self._rows, *self.style[name].shape[1:]]) for name, x in style.items()
        }
        return _cropped(self._render(self._alike(layout), style), rows["label"])

    def _alike(self, layout):
        """The layout with the same static shapes in all signatures, which so share one trace."""
        return {name: tf.ensure_shape(x, [self._rows, *x.shape[1:]]) for name, x in layout.items()}

    def _enough_rows(self, x, name, layout):
        """A style tensor, after a check that it has a row for every region if it has rows of regions."""
        if REGION not in self.specs[name].axes:
            return x
        needed = tf.reduce_max(layout["instance"]) + 1
        check = require(
            tf.shape(x)[1] >= needed,
            f"{name}: ",
            tf.shape(x)[1],
            " rows; the layout has ",
            needed,
            " regions (signature regions)",
        )
        with tf.control_dependencies([check]):
            return tf.identity(x)

    def _pictures(self, layout, style):
        """uint8 [B,H,W,3], truncated as pictures.to_uint8."""
        picture = finite(self.method.synthesize(layout, style), "the picture, of a style with huge numbers")
        picture = tf.clip_by_value(picture, -1.0, 1.0)
        return tf.cast((picture + 1.0) * 127.5, tf.uint8)


def _cropped(x, maps):
    """[N,H,W,...] without what padding added to the maps [N,h,w]."""
    height, width = (
        tf.shape(maps)[axis] if size is None else size for axis, size in enumerate(maps.shape[1:], 1)
    )
    return x[:, :height, :width]


def _filled(x, shape, most):
    """x [1,...] with zeros behind where shape (of one row) leaves an axis open: there `most` long."""
    missing = [[0, 0]] + [
        [0, most - tf.shape(x)[axis + 1] if size is None else 0] for axis, size in enumerate(shape)
    ]
    return x if shape.is_fully_defined() else tf.pad(x, missing)


def trace(function: Callable[..., Any], specs: dict[str, tf.TensorSpec]) -> Any:
    """The ConcreteFunction of one argument, a dict of tensors."""
    return tf.function(function, autograph=False).get_concrete_function(specs)
