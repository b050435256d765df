"""What every method is to trainer, inference, export and evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from semantic_synthesis.config import Config
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.layers.winograd import direct_convolutions
from semantic_synthesis.styles import merge_style


@dataclass(frozen=True)
class Objective:
    """One thing a method optimises: its own loss terms, layers, Adam and learning rate.

    layers: what its optimiser moves; rate: epoch (float) -> learning rate; betas: Adam's; period: it moves at every
    period-th step, 0 never; averaged: whether weight averages of these layers are kept (--ema_decay), which
    inference then uses.
    """

    layers: list
    rate: Callable[[float], float]
    betas: tuple = (0.9, 0.999)
    period: int = 1
    averaged: bool = False


@dataclass(frozen=True)
class Provenance:
    """Where the parts of one picture come from.

    segments: dicts of JSON values, back to front; pictures: {name: uint8 [H,W,3]}, steps on the way to the picture.
    """

    segments: list
    pictures: dict


class Method(keras.Model):
    """A Keras model that turns layouts into pictures; one subclass per paper.

    The constructor (config, training=True, initial_weights=True) creates every variable. A subclass gives
      config_class: its Config, which declares the method's name, options and defaults;
      instance_maps(config) -> None, "objects" (0 = none) or "regions" (no pixel without one: objects, and
        elsewhere each class of the picture; ids from 0): what `layout["instance"]` holds, if anything;
      extra_maps(config) -> kinds of maps (data.catalogue.EXTRA_MAPS) that `compute_losses` needs in batches besides;
      fixed_size(config) -> whether pictures are always crop_height x crop_size;
      stride: width and height of layouts are multiples of it;
      objectives() -> {name: Objective};
      style_shapes -> {name: StyleSpec}, {} if it takes none; from the axes follows all that can be done with a
        style: restyling, the signatures of an export, REST, the model card;
      encoder_sees_layout: whether `encode_style` reads the photo's layout;
      sample_style(layout, seed int64 [N]) -> style, a dict of float32 tensors [N,...]; layout may be None unless the
        style has rows of regions;
      encode_style(image, layout) -> Encoded, what a photo (float32 [N,H,W,3] in [-1,1]) of that layout decides;
      plan(layout) -> whatever of the layout many styles can share (nest of tensors);
      synthesize_planned(plan, style) -> float32 [N,H,W,3] in [-1,1];
      compute_losses(batch) -> {objective: {loss name: weighted float32 scalar}}, means over the batch;
      and may give
      converter() -> what turns the original's files into runs (originals/__init__.py), None if nothing does;
      sources(config) -> texts for the model card: weights or data other than the dataset that training used;
      provenance(plan, style) -> a Provenance per style: where the parts of the pictures come from, None where that
        is the weights alone;
      loss_texts -> {loss name: what it is}, for TensorBoard;
      without_features(config) -> the config whose constructor loads no frozen features from files;
      static_shapes, read by `plan`: set while a graph for compilers and other runtimes is traced
        (`with_static_shapes`); then all shapes follow from those of layout and style: nothing is numbered, no 64-bit
        arithmetic;
      why_not_static: where that is impossible, why: a phrase for an error;
      usual_seed: the seed of the style that the authors' code takes for every layout, None where styles are drawn.
    """

    config_class: ClassVar[type[Config]] = Config
    encoder_sees_layout: ClassVar[bool] = False
    loss_texts: ClassVar[dict] = {}
    static_shapes: bool = False
    why_not_static: ClassVar[str] = ""
    usual_seed: ClassVar[int | None] = None

    @classmethod
    def converter(cls) -> Any:
        """What turns the original's files into runs, or None."""
        return None

    @classmethod
    def extra_maps(cls, config: Any) -> Sequence[str]:
        """Kinds of maps that training needs besides label and instance maps."""
        return ()

    @classmethod
    def sources(cls, config: Any) -> list[str]:
        """Texts that name weights or data other than the dataset that training used."""
        return []

    @classmethod
    def without_features(cls, config: Any) -> Any:
        """The config with which the constructor loads no frozen features: all variables, nothing from outside."""
        return config

    @classmethod
    def check_files(cls, config: Any) -> None:
        """Raises ValueError or OSError where a file is missing that training needs beside its data; asked first."""

    def published(self, config: Any) -> tuple[Any, dict[str, str]]:
        """(config of a copy of the run, {path within its folder: local file}): what pictures need besides weights."""
        return config, {}

    def call(self, layout: dict[str, tf.Tensor], style: dict[str, tf.Tensor]) -> tf.Tensor:
        return self.synthesize(layout, style)

    def synthesize(self, layout: dict[str, tf.Tensor], style: dict[str, tf.Tensor]) -> tf.Tensor:
        """Pictures float32 [N,H,W,3] in [-1,1]: a pure function of layout and style."""
        return self.synthesize_planned(self.plan(layout), style)

    @contextlib.contextmanager
    def with_static_shapes(self) -> Iterator[None]:
        """Within it, graphs are traced in the form whose shapes do not depend on a layout's values, with plain
        convolutions."""
        self.static_shapes = True
        try:
            with direct_convolutions():
                yield
        finally:
            self.static_shapes = False

    def provenance(self, plan: Any, style: dict[str, tf.Tensor]) -> list[Provenance] | None:
        """Where the parts of pictures come from, or None."""
        return None

    def fitted_layers(self) -> list[Any]:
        """Layers of which `fit` measures the variables and no objective moves any; none by default."""
        return []

    def fit(self, batches: Iterable[dict[str, tf.Tensor]]) -> None:
        """Measures what is not learned but read off training samples, with the weights that pictures are made with;
        called before every checkpoint. batches: dicts as training gets them, of one device."""

    def diagrams(self, plan: Any, style: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """{"KIND/COLUMN": uint8 [N,H,W,3]}: pictures of what happens inside, for TensorBoard; none by default."""
        return {}

    def style_of(
        self, layout: dict[str, tf.Tensor], seed: tf.Tensor, image: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """The style of seeds int64 [N]; with photos of the same layout, what these decide in its place."""
        style = self.sample_style(layout, seed)
        return style if image is None else merge_style(style, self.encode_style(image, layout))

    def objective_variables(self, objective: str) -> list[keras.Variable]:
        """Trainable Keras variables of one objective."""
        return [v for layer in self.objectives()[objective].layers for v in layer.trainable_variables]

    @classmethod
    def seeds_of(cls, rows: Any, seed: int) -> Any:
        """Seeds of the styles of samples (numbers int64 [N]): one each, or the usual one for all where it is given."""
        return rows * 0 + seed if seed == cls.usual_seed else rows + seed

    def averaged_variables(self) -> dict[str, keras.Variable]:
        """{path: Keras variable} of which averages are worth keeping: of the objectives that ask for it, what is
        trained and the running statistics; not the vectors of power iterations, which belong to one kernel."""
        chosen = {
            id(v)
            for objective in self.objectives().values()
            if objective.averaged
            for layer in objective.layers
            for v in layer.variables
        }
        iterated = {id(v) for layer in self.spectral_layers() for v in (layer.u, layer.v)}
        return {n: v for n, v in named_variables(self).items() if id(v) in chosen - iterated}

    def spectral_layers(self) -> list[Any]:
        """The layers with a spectral norm."""
        return [layer for layer in self._flatten_layers() if getattr(layer, "spectral", False)]

    def advance_spectral_norms(self) -> None:
        """One power iteration everywhere; training does this once at the start of a step."""
        for layer in self.spectral_layers():
            layer.advance()

    def fold(self) -> None:
        """Folds spectral norms and running statistics into kernels; the model is for inference from here on."""
        for layer in self._flatten_layers(include_self=False):
            if hasattr(layer, "fold"):
                layer.fold()


def decaying_rate(config: Config, factor: float = 1.0) -> Callable[[float], float]:
    """epoch -> lr * factor, constant until decay_epoch, then falling linearly to zero at total_epochs.

    Deviation: the originals lower the rate once per epoch.
    """
    last = float(max(config.total_epochs, 1))
    first = last * min(1.0, config.decay_epoch / last)

    def rate(epoch):
        share = 1.0 if epoch < first else max(0.0, (last - epoch) / max(last - first, 1e-9))
        return config.lr * factor * share

    return rate


def row_normal(rows: list[int] | tf.Tensor, size: int | tf.Tensor, seed: int = 0) -> tf.Tensor:
    """Gaussian noise float32 [N,size], a function of (seed, row) alone: same row, same noise, in any batch.

    rows: int64 [N], for example global sample numbers or request seeds; size may be a tensor, and a longer
    draw begins with the shorter one.
    """

    def draw(row):
        key = tf.stack([tf.cast(seed, tf.int64), row])
        return tf.random.stateless_normal([size], key, alg="philox")

    return tf.map_fn(draw, tf.cast(rows, tf.int64), fn_output_signature=tf.float32)
