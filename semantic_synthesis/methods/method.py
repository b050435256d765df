"""What every method is to trainer, inference, export and evaluation."""

from typing import ClassVar

import keras
import tensorflow as tf


class Method(keras.Model):
    """A Keras model that turns layouts into pictures; one subclass per paper.

    The constructor creates every variable. A subclass gives
      defaults: {option: value} for the options whose default depends on the method;
      instance_maps(config) -> None, "objects" (0 = none) or "regions" (no pixel without one: objects, and
        elsewhere each class of the picture; ids from 0): what `layout["instance"]` holds, if anything;
      fixed_size(config) -> whether pictures are always crop_height x crop_size;
      objectives() -> {objective: [layers]}: what each objective's optimiser moves;
      style_shapes -> {name: shape without the batch}, None for one row per instance, {} if it takes none;
      sample_style(layout, seed int64 [N]) -> style, a dict of float32 tensors [N,...];
      encode_style(image, layout) -> the part of a style that a photo of that layout decides, of which
        `encoded` lists the names;
      plan(layout) -> whatever of the layout many styles can share (nest of tensors);
      synthesize_planned(plan, style) -> float32 [N,H,W,3] in [-1,1];
      compute_losses(batch) -> {objective: {loss name: weighted float32 scalar}}, means over the batch.
    """

    defaults: ClassVar[dict] = {}

    @property
    def encoded(self):
        """Names of the style tensors that `encode_style` gives; () without an encoder."""
        return ()

    @classmethod
    def with_defaults(cls, config):
        """The config with the method's own values where options that depend on the method are open."""
        return config.replace(**{k: v for k, v in cls.defaults.items() if getattr(config, k) is None})

    def call(self, layout, style):
        return self.synthesize(layout, style)

    def synthesize(self, layout, style):
        """Pictures float32 [N,H,W,3] in [-1,1]: a pure function of layout and style."""
        return self.synthesize_planned(self.plan(layout), style)

    def objective_variables(self, objective):
        """Trainable Keras variables of one objective."""
        return [v for layer in self.objectives()[objective] for v in layer.trainable_variables]

    def advance_spectral_norms(self):
        """One power iteration everywhere; training does this once at the start of a step."""
        for layer in self._flatten_layers():
            if getattr(layer, "spectral", False):
                layer.advance()

    def fold(self):
        """Folds spectral norms and running statistics into kernels; the model is for inference from here on."""
        for layer in self._flatten_layers(include_self=False):
            if hasattr(layer, "fold"):
                layer.fold()


def named_variables(layer, prefix=""):
    """{path: Keras variable} of a layer and all below it; paths join layer names with "/".

    Keras' own paths leave out the parents of layers that make their variables when constructed.
    """
    found = {}
    for variable in layer._trainable_variables + layer._non_trainable_variables:
        found[prefix + variable.name] = variable
    for child in layer._layers:
        if getattr(child, "frozen", False):  # fixed features (VGG19) are no part of a run
            continue
        for name, variable in named_variables(child, f"{prefix}{child.name}/").items():
            if name in found:
                raise ValueError(f"two variables are called {name}; give one of the layers another name")
            found[name] = variable
    return found


def row_normal(rows, size, seed=0):
    """Gaussian noise float32 [N,size], a function of (seed, row) alone: same row, same noise, in any batch.

    rows: int64 [N], for example global sample numbers or request seeds; size may be a tensor, and a longer
    draw begins with the shorter one.
    """

    def draw(row):
        key = tf.stack([tf.cast(seed, tf.int64), row])
        return tf.random.stateless_normal([size], key, alg="philox")

    return tf.map_fn(draw, tf.cast(rows, tf.int64), fn_output_signature=tf.float32)
