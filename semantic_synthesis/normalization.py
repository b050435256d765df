"""The conditional normalisers side by side: norm(x, condition) -> [..., out_channels]."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.layers import BatchNorm, Dense, InstanceNorm, LabelModulation, LabelPlan, add_array
from semantic_synthesis.layers.cells import Cells
from semantic_synthesis.layers.pairs import Pairs, pick
from semantic_synthesis.layers.spreading import gather, spread

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer


class NormGrammar(NamedTuple):
    """A parsed norm_G string: spectral convolutions or not, statistics, kernel size of the modulation."""

    spectral: bool
    statistics: str
    kernel_size: int


def parse_norm_G(text: str) -> NormGrammar:
    """Reads `[spectral]spade<instance|syncbatch|batch><k>x<k>`; ValueError otherwise."""
    match = re.fullmatch(r"(spectral)?spade(instance|syncbatch|batch)(\d)x\3", text)
    if not match:
        raise ValueError(
            f"norm_G is {text!r}; expected [spectral]spade<instance|syncbatch|batch><k>x<k>, "
            "for example spectralspadesyncbatch3x3"
        )
    if int(match[3]) % 2 == 0:
        raise ValueError(f"norm_G is {text!r}; the kernel size must be odd, for example 3x3")
    return NormGrammar(bool(match[1]), match[2], int(match[3]))


def make_statistics(kind: str, channels: int, name: str) -> BatchNorm | InstanceNorm:
    """The parameter-free normalisation that `kind` names: instance, batch (per replica) or syncbatch."""
    if kind == "instance":
        return InstanceNorm(channels, name=name)
    return BatchNorm(channels, synchronized=kind == "syncbatch", name=name)


class LabelRows(NamedTuple):
    """A plan whose tokens stand for vectors, and these: rows float32 [T,D] (`LabelModulation.call`)."""

    plan: LabelPlan
    rows: tf.Tensor

    @property
    def pairs(self) -> Pairs | None:
        """Those of the plan."""
        return self.plan.pairs

    @property
    def use_patches(self) -> tf.Tensor | None:
        """The plan's question, if it is one."""
        return self.plan.use_patches

    def of_pairs(self) -> LabelRows:
        """The condition of rows, one for each pair."""
        return self._replace(plan=self.plan.of_pairs())

    def dense(self) -> LabelRows:
        """The condition for the dense form."""
        return self._replace(plan=self.plan.dense())


class SPADE(keras.layers.Layer):
    """Spatially-adaptive normalisation (Park et al., equation 1): normalised(x) * (1 + scale) + shift.

    num_classes: C, or the length of the rows. Call: x [B,h,w,channels]; condition: LabelPlan of the same h and w,
    batch B or 1, or LabelRows with a plan of batch B -> [B,h,w,channels].
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        hidden: int = 128,
        edges: bool = False,
        kernel_size: int = 3,
        statistics: str = "syncbatch",
        init: Initializer,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.out_channels = channels
        self.statistics = make_statistics(statistics, channels, "statistics")
        self.modulation = LabelModulation(
            num_classes, channels, hidden, edges=edges, kernel_size=kernel_size, init=init, name="modulation"
        )
        self.folded = False
        self.built = True

    def fold(self) -> None:
        """Folds running statistics into the modulation's last kernel: same outputs (inference only)."""
        if not self.statistics.per_sample and not self.folded:
            self.modulation.fold_statistics(*self.statistics.affine(None))
            self.folded = True

    def call(self, x: tf.Tensor, condition: LabelPlan | LabelRows, training: bool = False) -> tf.Tensor:
        plan, rows = condition if isinstance(condition, LabelRows) else (condition, None)
        if self.folded:
            return self.modulation(x, plan, rows=rows)
        if self.statistics.per_sample:
            x = self.statistics(x, training=training)
            return self.modulation(x, plan, fold=lambda scale, shift: (1.0 + scale, shift), rows=rows)
        a, b = self.statistics.affine(x, training)

        # x * a + b goes into scale and shift, at the cost of a few patches instead of all pixels.
        def fold(scale, shift):
            return (1.0 + scale) * a, (1.0 + scale) * b + shift

        return self.modulation(x, plan, fold=fold, rows=rows)


def _modulate(x, statistics, training, scale, shift, cells):
    """normalised(x) * scale + shift with scale, shift float32 [Q,F] of each pixel's cell."""
    if statistics.per_sample:
        x = statistics(x, training=training)
    else:  # into scale and shift: Q rows instead of all pixels
        a, b = statistics.affine(x, training)
        scale, shift = scale * a, scale * b + shift
    values = tf.cast(tf.concat([scale, shift], -1), x.dtype)  # [Q,2F]
    if cells.picked is not None:
        x = pick(x, cells.picked)
    return spread(x, values, cells.index, cells.runs, cells.run_index)


class LabelCells(NamedTuple):
    """CLADE's condition at one resolution.

    cells: of the class ids [B,h,w]; edges: 0 or 1 [B,h,w,1], None without instance edges; offsets:
    float32 [B,h,w,2], vertical and horizontal place within the region in [-1,1], None without ICPE.
    """

    cells: Cells
    edges: tf.Tensor | None = None
    offsets: tf.Tensor | None = None

    @property
    def pairs(self) -> Pairs | None:
        """Those of the cells: cells with edges or offsets have none, as pixels differ within a class."""
        return self.cells.pairs

    def of_pairs(self) -> LabelCells:
        """The condition of rows, one for each pair."""
        return self._replace(cells=self.cells.of_pairs())


class CLADE(keras.layers.Layer):
    """Class-adaptive normalisation (Tan et al., arXiv 2012.04644): normalised(x) * scale[k] + shift[k].

    k is the pixel's class; there is no "1 +". With `positions` (ICPE) scale is multiplied by 1 + w and shift
    by 1 + b, each an affine function of the pixel's place within its region, shared by all channels. With
    `edges` the instance edges follow as one more channel, scaled and shifted by two numbers.
    Call: x [N,h,w,channels]; condition: LabelCells of the same h and w, batch N or 1
    -> [N,h,w,out_channels].
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        edges: bool = False,
        positions: bool = False,
        statistics: str = "syncbatch",
        init: Initializer,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.out_channels = channels + int(edges)
        self.statistics = make_statistics(statistics, channels, "statistics")
        self.scale = add_array(self, "scale", init.uniform((num_classes, channels)))
        self.shift = add_array(self, "shift", np.zeros((num_classes, channels), np.float32))
        self.positions, self.edges = positions, edges
        if positions:
            self.scale_position_kernel = add_array(self, "scale_position_kernel", np.zeros(2, np.float32))
            self.scale_position_bias = add_array(self, "scale_position_bias", np.zeros(1, np.float32))
            self.shift_position_kernel = add_array(self, "shift_position_kernel", np.zeros(2, np.float32))
            self.shift_position_bias = add_array(self, "shift_position_bias", np.zeros(1, np.float32))
        if edges:
            self.edge_kernel = add_array(self, "edge_kernel", init((1, 1))[0])
            self.edge_bias = add_array(self, "edge_bias", np.zeros(1, np.float32))
        self.built = True

    def call(self, x: tf.Tensor, condition: LabelCells, training: bool = False) -> tf.Tensor:
        scale, shift = (tf.cast(v.value, tf.float32) for v in (self.scale, self.shift))  # [C,F]
        if self.positions:
            y = self._by_position(x, condition, training, scale, shift)
        else:
            y = _modulate(x, self.statistics, training, scale, shift, condition.cells)
        if not self.edges:
            return y
        edges = _affine(condition.edges, self.edge_kernel, self.edge_bias, y.dtype)  # [B,h,w,1]
        copies = tf.shape(y)[0] // tf.shape(edges)[0]
        return tf.concat([y, tf.tile(edges, [copies, 1, 1, 1])], -1)

    def _by_position(self, x, condition, training, scale, shift):
        """The modulation with ICPE, whose scale and shift differ from pixel to pixel of a class."""
        x, index = self.statistics(x, training=training), condition.cells.index
        offsets = condition.offsets
        w = _affine(offsets, self.scale_position_kernel, self.scale_position_bias, x.dtype)  # [B,h,w,1]
        b = _affine(offsets, self.shift_position_kernel, self.shift_position_bias, x.dtype)
        scale, shift = gather(tf.cast(scale, x.dtype), index), gather(tf.cast(shift, x.dtype), index)
        return x * (scale * (1 + w)) + shift * (1 + b)


def _affine(x, kernel, bias, dtype):
    """kernel . x + bias over the last axis, in float32 until the end: [...,n] -> [...,1]."""
    products = tf.cast(x, tf.float32) * tf.cast(kernel.value, tf.float32)
    return tf.cast(tf.reduce_sum(products, -1, keepdims=True) + tf.cast(bias.value, tf.float32), dtype)


class RegionCells(NamedTuple):
    """INADE's condition at one resolution: Q pairs of class and instance occur in the N layouts.

    classes, instances: int32 [Q], the two ids of each pair; cells: of pair + Q * sample, [N,h,w];
    noise: float32 [N,I,2,Z], for scale and for shift of each instance.
    """

    classes: tf.Tensor
    instances: tf.Tensor
    cells: Cells
    noise: tf.Tensor

    @property
    def pairs(self) -> Pairs | None:
        """Those of the cells."""
        return self.cells.pairs

    def of_pairs(self) -> RegionCells:
        """The condition of rows, one for each pair of cell and value."""
        return self._replace(cells=self.cells.of_pairs())


class RegionMaps(NamedTuple):
    """INADE's condition pixel by pixel: label, instance int32 [B,h,w], B 1 or N; noise float32 [N,I,2,Z]."""

    label: tf.Tensor
    instance: tf.Tensor
    noise: tf.Tensor


class INADE(keras.layers.Layer):
    """Instance-adaptive denormalisation (Tan et al., CVPR 2021, equations 4 to 6).

    normalised(x) * scale + shift with scale = weight[k,0] * e[i,0] + bias[k,0] and shift likewise from
    weight[k,1], e[i,1], bias[k,1], where k is the pixel's class, i its instance and e the instance's noise
    through one dense layer.
    Call: x [N,h,w,channels]; condition: RegionCells (or RegionMaps: the same values, slower, in shapes that do not
    depend on the layout) of the same h, w and batch -> [N,h,w,channels].
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        noise_dim: int,
        statistics: str = "syncbatch",
        init: Initializer,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.out_channels = channels
        self.statistics = make_statistics(statistics, channels, "statistics")
        self.weight = add_array(self, "weight", init.uniform((num_classes, 2, channels)))
        self.bias = add_array(self, "bias", np.zeros((num_classes, 2, channels), np.float32))
        self.projection = Dense(noise_dim, channels, init=init, name="projection")
        self.built = True

    def call(self, x: tf.Tensor, condition: RegionCells | RegionMaps, training: bool = False) -> tf.Tensor:
        if isinstance(condition, RegionMaps):
            return self._by_pixel(x, condition, training)
        scale, shift = self._pair_values(condition)
        return _modulate(x, self.statistics, training, scale, shift, condition.cells)

    def _projected(self, noise):
        """The dense layer of the noise, in float32: [...,Z] -> [...,F]."""
        kernel, offset = (
            tf.cast(v.value, tf.float32) for v in (self.projection.kernel, self.projection.bias)
        )
        return tf.tensordot(noise, kernel, 1) + offset

    def _of_classes(self, classes):
        """(weight, bias) of class ids, float32 [...,2,F]."""
        return (tf.gather(tf.cast(v.value, tf.float32), classes) for v in (self.weight, self.bias))

    def _by_pixel(self, x, condition, training):
        x = self.statistics(x, training=training)
        label, instance, noise = condition
        count, regions = tf.shape(noise)[0], tf.shape(noise)[1]
        rows = tf.reshape(self._projected(noise), [-1, 2, self.out_channels])  # [N*I,2,F]
        places = instance + regions * tf.range(count)[:, None, None]  # [N,h,w]
        weight, bias = self._of_classes(label)
        scale, shift = tf.unstack(tf.gather(rows, places) * weight + bias, axis=3)  # [N,h,w,F]
        return x * tf.cast(scale, x.dtype) + tf.cast(shift, x.dtype)

    def _pair_values(self, condition):
        """(scale, shift), each float32 [N*Q,F], in the order of the cells."""
        noise = tf.gather(condition.noise, condition.instances, axis=1)  # [N,Q,2,Z]
        projected = self._projected(noise)  # [N,Q,2,F]
        weight, bias = self._of_classes(condition.classes)  # [Q,2,F]
        values = tf.reshape(weight * projected + bias, [-1, *weight.shape[1:]])  # [N*Q,2,F]
        return tf.unstack(values, axis=1)
