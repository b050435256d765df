"""A trained run as an object that turns layouts into pictures; test_one, generate and export use it."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from semantic_synthesis import arrays, data
from semantic_synthesis.data.geometry import MOST_PIXELS
from semantic_synthesis.data.instances import without_none
from semantic_synthesis.pictures import to_uint8
from semantic_synthesis.restyling import apply_edits, parse_edit
from semantic_synthesis.runs import open_run
from semantic_synthesis.styles import Encoded, encoded_names, merge_style, needs_regions, transfer

if TYPE_CHECKING:
    from semantic_synthesis.config import Config
    from semantic_synthesis.methods.method import Method, Provenance

_KEPT_PLANS = 8
_PLAIN_CALLS = {"float32": 2}  # of a run's functions before they are traced, by precision


class _TracedLater:
    """A function of tensors that runs as it stands in its first calls and as a graph from then on.

    Tracing takes longer than a picture, which few calls never win back. In float32 both ways give the same bits; in
    bfloat16 a graph leaves out rounding between some operations, so there all calls use it.
    """

    def __init__(self, function, precision):
        self._plain, self._left = function, _PLAIN_CALLS.get(precision, 0)
        # Plans of different layouts have different sizes: reduce_retracing keeps one graph for all of them.
        self.graph = tf.function(function, autograph=False, reduce_retracing=True)

    def __call__(self, *arguments):
        self._left -= 1
        return self._plain(*arguments) if self._left >= 0 else self.graph(*arguments)


class Layout(dict[str, np.ndarray]):
    """A layout that knows how large its maps were before padding: {name: int32 [N,H,W]}, size (height, width)."""

    size: tuple[int, int] | None = None


def load_run(run_dir: str | Path, precision: str = "float32", **changes: Any) -> Synthesizer:
    """The Synthesizer of a run folder; nothing else is needed, every option is in the folder.

    precision: float32 or bfloat16; changes: options that say how the run's method computes, for example
    modulation="dense"; default as trained.
    Errors: FileNotFoundError or ValueError, one line, if the run is missing or damaged.
    """
    return Synthesizer(*open_run(run_dir, precision, **changes))


class Synthesizer:
    """Layouts and styles to pictures, with the class table and the size of the run.

    The plan of a layout is kept, so further styles for the same layout skip it.
    """

    def __init__(self, config: Config, method: Method) -> None:
        self.config, self.method = config, method
        self.table = data.ClassTable.from_dict(config.class_table)
        self.size = (config.crop_height, config.crop_size)
        self.free_size = not method.fixed_size(config)
        self.instance_maps = method.instance_maps(config)
        self.style_specs = method.style_shapes
        self.encoded = encoded_names(self.style_specs)
        self._plans, self._plans_lock = OrderedDict(), threading.Lock()
        self._plan = _TracedLater(method.plan, config.precision)
        self._render = _TracedLater(method.synthesize_planned, config.precision)
        self._sample = _TracedLater(method.sample_style, config.precision)
        self._encode = _TracedLater(method.encode_style, config.precision)

    def layout(self, label: np.ndarray, instance: np.ndarray | None = None) -> Layout:
        """The network's layout from maps of any size.

        Runs of one size (`free_size` false) get maps fitted to it by nearest neighbour. The others paint maps as they
        are: where a side is no multiple of the networks' stride, the last row and column are repeated up to the next
        one, and `synthesize` cuts off what was added.
        label: int [h,w] or [N,h,w] in [0,C); instance: the same shape, 0 = none, or None.
        -> Layout {"label": int32 [N,H,W]} (and "instance", if the method reads it: objects as given, or regions,
        see data.regions).
        """
        maps = {"label": label} if instance is None else {"label": label, "instance": instance}
        maps = self._checked_maps(maps)
        if self.instance_maps == "objects" and instance is None:
            raise ValueError("this run was trained with instance maps; give one (--instance_filename)")
        found = Layout()
        found.size = self._painted_size(maps["label"].shape[-2:])
        for name, values in maps.items():
            values = values[None] if values.ndim == 2 else values
            found[name] = np.stack([self.fit_map(v.astype(np.int32)) for v in values])
        if self.instance_maps == "regions":
            objects = found.get("instance", [None] * len(found["label"]))
            found["instance"] = np.stack(
                [data.regions(*maps) for maps in zip(found["label"], objects, strict=True)]
            )
        return found

    def _checked_maps(self, maps, batches=True):
        """{name: map} that programs gave, as arrays; without the instance map where the run reads none."""
        found = {"label": arrays.check_map(maps["label"], "label", self.table.num_classes, batches)}
        if "instance" not in maps or not self.instance_maps:
            return found
        found["instance"] = arrays.check_map(maps["instance"], "instance", batches=batches)
        if found["instance"].shape != found["label"].shape:
            raise ValueError(
                f"instance: array of shape {found['instance'].shape}; expected that of label, {found['label'].shape}"
            )
        found["instance"] = without_none(found["instance"], self.config.instance_none_id)
        return found

    def _painted_size(self, size):
        """(height, width) of the picture of a map of that size."""
        if not self.free_size:
            return self.size
        if not 0 < size[0] * size[1] <= MOST_PIXELS:
            raise ValueError(
                f"a map of {size[1]}x{size[0]} pixels; this run paints maps as large as they are, expected 1 to "
                f"{MOST_PIXELS} pixels (--output_width, --output_height)"
            )
        return tuple(size)

    def fit_map(self, values: np.ndarray) -> np.ndarray:
        """An integer map [h,w] as `layout` gives it to the networks: [H,W], same dtype."""
        fitted = data.fit_label(values, *self._painted_size(values.shape))
        return data.pad_map(fitted, self.method.stride) if self.free_size else fitted

    def sample_style(
        self, seeds: Sequence[int] | np.ndarray, layout: dict[str, np.ndarray] | None = None
    ) -> dict[str, tf.Tensor]:
        """Random styles, one per seed (int64 [N]): the same seed gives the same style anywhere.

        layout: of batch 1 or N, needed by methods with a style per region.
        """
        seeds = arrays.check_seeds(seeds)
        if layout is not None and self._check_layout(layout) not in (1, len(seeds)):
            raise ValueError(f"{len(seeds)} seeds; expected one for each of the layouts, or one layout")
        layout = self._needed(layout, needs_regions(self.style_specs))
        return self._sample(layout, tf.constant(seeds, tf.int64))

    def _check_layout(self, layout):
        """The number of layouts in one; ValueError where it is none of this run's."""
        names = ("label", "instance") if self.instance_maps else ("label",)
        size = self.size if self.method.fixed_size(self.config) else None
        return arrays.check_layout(layout, names, self.table.num_classes, size, self.method.stride)

    @staticmethod
    def _needed(layout, needed):
        if layout is None and needed:
            raise ValueError("styles of this run depend on the layout; give it")
        return None if layout is None else dict(layout)

    def read_photos(
        self,
        images: np.ndarray,
        layout: dict[str, np.ndarray] | None = None,
        photo_layout: dict[str, np.ndarray] | None = None,
    ) -> Encoded:
        """What photos decide of a style, an Encoded: images uint8 [h,w,3] or [N,h,w,3], any size.

        layout: what the style is for; photo_layout: what the photos show, where that is another one (rows of
        regions then go by their class). ValueError if the run's photos decide nothing.
        """
        if not self.encoded:
            raise ValueError("this run has no encoder of photos; it takes no style image")
        images = arrays.check_pictures(images)
        images = images[None] if images.ndim == 3 else images
        shown, moved = layout if photo_layout is None else photo_layout, needs_regions(self.style_specs)
        for one, read in ((layout, moved), (shown, self.method.encoder_sees_layout)):
            if one is not None and self._check_layout(one) != len(images) and read:
                raise ValueError(
                    f"{len(images)} photos for {len(one['label'])} layouts; expected a layout for each photo"
                )
        fitted = np.stack([self._fit_photo(image, shown) for image in images])
        shown = self._needed(shown, self.method.encoder_sees_layout)
        encoded = self._encode(tf.cast(fitted, tf.float32) / 127.5 - 1.0, shown)
        if photo_layout is None or not moved:
            return encoded
        ours = self._needed(layout, True)
        return transfer(encoded, self.style_specs, photo_layout, ours, self.table.num_classes)

    def _fit_photo(self, image, shown):
        """A photo at the size of what it shows, where the encoder reads both, else at the run's."""
        if not (self.free_size and self.method.encoder_sees_layout and shown):
            return data.fit_image(image, *self.size)
        size = getattr(shown, "size", None) or shown["label"].shape[1:]
        return data.pad_map(data.fit_image(image, *size), self.method.stride)

    def encode_style(
        self,
        images: np.ndarray,
        layout: dict[str, np.ndarray] | None = None,
        seed: int = 0,
        photo_layout: dict[str, np.ndarray] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Styles of photos, see `read_photos`; seed (one, or one per photo) decides what of them the photos do not."""
        encoded = self.read_photos(images, layout, photo_layout)
        count = len(images) if np.ndim(images) == 4 else 1
        if np.size(seed) not in (1, count):
            raise ValueError(f"{np.size(seed)} seeds for {count} photos; expected one, or one for each")
        return merge_style(self.sample_style(np.broadcast_to(seed, [count]), layout), encoded)

    def plan(self, layout: dict[str, np.ndarray]) -> None:
        """Computes what styles of a layout share now, perhaps in another thread, so that `synthesize` soon finds it."""
        self._planned(layout)

    def synthesize(self, layout: dict[str, np.ndarray], style: dict[str, tf.Tensor]) -> np.ndarray:
        """Pictures uint8 [N,H,W,3] for N styles of one layout, or one style per layout; H, W: the run's size, or that
        of the maps that `layout` was given."""
        self._check(layout, style)
        pictures = to_uint8(self._render(self._planned(layout), style))
        height, width = getattr(layout, "size", None) or pictures.shape[1:3]
        return pictures[:, :height, :width]

    def paint(
        self,
        label: np.ndarray,
        instance: np.ndarray | None = None,
        *,
        seed: int = 0,
        photo: np.ndarray | None = None,
        photo_label: np.ndarray | None = None,
        restyle: Sequence[str] = (),
        size: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """The picture of one label map, as `one` makes it: uint8 [h,w,3].

        label: int [h,w] in [0,C); instance: int [h,w], 0 = none, for runs trained with them; seed: of the random style,
        or of what a photo leaves open; photo: uint8 [h',w',3], whose style the picture takes; photo_label: int [h',w'],
        its label map where it shows another layout; restyle: edits of the style, texts as `--restyle` takes them
        (restyling.GRAMMAR); size: (height, width) of the picture, default that of the label map; runs with `free_size`
        paint at it, the others' pictures are resized to it.
        ValueError, one line, for maps, photos or edits that do not fit the run.
        """
        if isinstance(restyle, str):
            raise ValueError(f"restyle: {restyle!r}; expected a list of texts, [{restyle!r}]")
        maps = {"label": label} if instance is None else {"label": label, "instance": instance}
        maps = self._checked_maps(maps, batches=False)
        label, instance = maps["label"], maps.get("instance")
        size = arrays.check_size(size or label.shape)
        label, instance = self.at_size(size, label, instance)
        layout = self.layout(label, instance)
        style = self._style_of(layout, seed, photo, photo_label)
        edits = [parse_edit(text, self.table.names) for text in restyle]
        style = apply_edits(self, edits, label, instance, style)
        return data.fit_image(self.synthesize(layout, style)[0], *size)

    def _style_of(self, layout, seed, photo, photo_label):
        """The style of one picture, of a seed or a photo, with the photo's own label map or None."""
        if photo is None and photo_label is not None:
            raise ValueError("photo_label: given without photo; expected the photo of which it is the map")
        if photo is None:
            return self.sample_style([seed], layout)
        photo, shown = arrays.check_pictures(photo, batches=False), None
        if photo_label is not None:
            if np.shape(photo_label) != photo.shape[:2]:
                raise ValueError(
                    f"photo_label: array of shape {np.shape(photo_label)}; expected {photo.shape[:2]}, as the photo"
                )
            objects = np.zeros_like(photo_label) if self.instance_maps == "objects" else None
            shown = self.layout(photo_label, objects)
        return self.encode_style(photo, layout, seed, shown)

    def at_size(
        self, size: Sequence[int], label: np.ndarray, instance: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """(label, instance) for pictures of (height, width): fitted by nearest neighbour where the run paints any size,
        else as they are (its picture is resized)."""
        if not self.free_size or label.shape == tuple(size):
            return label, instance
        return data.fit_label(label, *size), None if instance is None else data.fit_label(
            np.asarray(instance), *size
        )

    def provenance(self, layout: dict[str, np.ndarray], style: dict[str, tf.Tensor]) -> list[Provenance]:
        """A Provenance per picture of `synthesize`: where its parts come from.

        ValueError if the run's method makes its pictures from nothing but weights.
        """
        self._check(layout, style)
        found = self.method.provenance(self._planned(layout), style)
        if found is None:
            raise ValueError(
                f"--provenance: {self.config.method} makes pictures from its weights alone; leave it out"
            )
        return found

    def _check(self, layout, style):
        layouts = self._check_layout(layout)
        regions = int(np.max(layout["instance"])) + 1 if needs_regions(self.style_specs) else 0
        arrays.check_style(style, self.style_specs, layouts, regions)

    def _planned(self, layout):
        digest = hashlib.sha1()
        for name in sorted(layout):
            digest.update(
                repr((name, layout[name].shape)).encode() + np.ascontiguousarray(layout[name]).tobytes()
            )
        key = digest.digest()
        with self._plans_lock:
            plan = self._plans.get(key)
        if plan is None:
            plan = self._plan({name: tf.constant(values) for name, values in layout.items()})
        with self._plans_lock:
            self._plans[key] = plan
            self._plans.move_to_end(key)
            while len(self._plans) > _KEPT_PLANS:
                self._plans.popitem(last=False)
        return plan
