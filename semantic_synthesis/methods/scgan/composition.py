"""Spatially conditional convolution, normalisation and residual block (Wang et al., section 3.2).

E experts, one gate map each; paper symbols: the semantic vectors v are `semantic_vectors`, the gates alpha are
`gates` of bins of v.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.layers import Conv, LabelPlan, add_array, convolve, winograd
from semantic_synthesis.layers.residual import leaky_relu
from semantic_synthesis.normalization import SPADE, make_statistics

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

ACTIVATIONS = {
    "softmax": lambda x: tf.nn.softmax(x, -1),
    "sigmoid": tf.sigmoid,
    "hardtanh": lambda x: tf.clip_by_value(x, -1.0, 1.0),
    "none": tf.identity,
}


class SCNorm(NamedTuple):
    """A parsed norm_G: spectral convolutions or not, statistics, kernel size of the shortcuts' label convolutions."""

    spectral: bool
    statistics: str
    kernel_size: int


def parse_norm_G(text: str) -> SCNorm:
    """Reads `[spectral]scc<instance|syncbatch|batch><k>x<k>`; ValueError otherwise."""
    match = re.fullmatch(r"(spectral)?scc(instance|syncbatch|batch)([13579])x\3", text)
    if not match:
        raise ValueError(
            f"norm_G is {text!r}; expected [spectral]scc<instance|syncbatch|batch><k>x<k> with an odd k, for example "
            "spectralsccsyncbatch3x3"
        )
    return SCNorm(bool(match[1]), match[2], int(match[3]))


def expert_bins(channels: int, experts: int) -> list[tuple[int, int]]:
    """[(first, end)] of each expert's channels; they overlap where `experts` does not divide `channels`."""
    return [(k * channels // experts, -(-(k + 1) * channels // experts)) for k in range(experts)]


def expert_logits(vectors: tf.Tensor, experts: int) -> tf.Tensor:
    """float32 [B,h,w,E]: the mean over each expert's bin of the channels of vectors [B,h,w,F]."""
    channels = vectors.shape[-1]
    means = np.zeros((channels, experts), np.float32)
    for k, (first, end) in enumerate(expert_bins(channels, experts)):
        means[first:end, k] = 1.0 / (end - first)
    return tf.nn.conv2d(vectors, tf.constant(means[None, None]), 1, "VALID")


class Composition(NamedTuple):
    """The condition of one resolution.

    conv_gates float32 [B,h,w,Ec]; norm_gates float32 [B,h,w,1+En], of which the first is 1 (`ComposedNorm`);
    label: LabelPlan for a learned shortcut or the first features, None elsewhere.
    """

    conv_gates: tf.Tensor
    norm_gates: tf.Tensor
    label: LabelPlan | None = None


class ComposedConv(keras.layers.Layer):
    """sum_e gate_e * (kernel_e conv x), 3x3 with zero padding, no bias; each kernel with its own spectral norm.

    The experts' kernels lie side by side, [3,3,in,E*filters]; each convolves by itself: one convolution for all makes
    maps that are E times as wide, of which cutting and weighing the parts takes longer than it saves.
    Call: x [N,h,w,in_channels], gates float32 [B,h,w,E], B 1 or N -> [N,h,w,filters].
    """

    def __init__(
        self, in_channels: int, filters: int, experts: int, *, spectral: bool, init: Initializer, name: str
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.spectral, self.experts = spectral, experts
        self.direct, self.settled = False, False  # as in layers.Conv
        self._transformed: list[tf.Variable] = []
        kernels = [init((3, 3, in_channels, filters), spectral) for _ in range(experts)]
        self.kernel = add_array(self, "kernel", np.concatenate(kernels, -1))
        if spectral:
            u, v = (
                np.concatenate([init.unit(size) for _ in range(experts)])
                for size in (filters, 9 * in_channels)
            )
            self.u, self.v = (
                add_array(self, "u", u, trainable=False),
                add_array(self, "v", v, trainable=False),
            )
        self.built = True

    def advance(self) -> None:
        """One power iteration per expert (training calls it once per step, outside the tape)."""
        u = tf.reshape(self.u.value, [self.experts, -1])  # [E,F]
        matrix = self._matrix(self.kernel.value)
        blocks = tf.reshape(u[:, :, None] * tf.eye(self.experts)[:, None], [-1, self.experts])  # [E*F,E]
        v = tf.transpose(_unit(tf.matmul(matrix, blocks), axis=0))  # [E,9*in]
        self.v.assign(tf.reshape(v, [-1]))
        self.u.assign(tf.reshape(_unit(self._products(matrix, v), axis=1), [-1]))

    @staticmethod
    def _matrix(kernel):
        """[9*in,E*F]."""
        return tf.reshape(tf.cast(kernel, tf.float32), [-1, kernel.shape[-1]])

    def _products(self, matrix, v):
        """v_e . kernel_e of each expert: v [E,9*in] -> [E,F]."""
        products = tf.reshape(tf.matmul(v, matrix), [self.experts, self.experts, -1])  # [E,E,F]
        return tf.stack([products[e, e] for e in range(self.experts)])

    def effective_kernel(self) -> tf.Tensor:
        """Tensor kernel_e / sigma_e of every expert, shape of the kernel."""
        kernel = tf.convert_to_tensor(self.kernel.value)
        if not self.spectral:
            return kernel
        u, v = (tf.stop_gradient(tf.cast(x.value, tf.float32)) for x in (self.u, self.v))
        u, v = tf.reshape(u, [self.experts, -1]), tf.reshape(v, [self.experts, -1])  # [E,F], [E,9*in]
        sigma = tf.reduce_sum(self._products(self._matrix(kernel), v) * u, 1)  # [E]
        return kernel / tf.cast(tf.repeat(sigma, u.shape[1]), kernel.dtype)

    def fold(self) -> None:
        """Divides the kernels by their sigmas for good (inference only)."""
        if self.spectral:
            self.kernel.assign(self.effective_kernel())
            self.spectral = False
        self.settled = True

    def call(self, x: tf.Tensor, gates: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, self.compute_dtype)
        parts = zip(self._by_expert(x), tf.split(tf.cast(gates, x.dtype), self.experts, -1), strict=True)
        return tf.add_n([part * gate for part, gate in parts])  # [N,h,w,F]

    def _by_expert(self, x):
        """x under each kernel: E times [N,h,w,F]."""
        one = self.kernel.shape[:-1] + (self.kernel.shape[-1] // self.experts,)
        if self.settled and not self.direct and winograd.keeps(x.shape, one, x.dtype):
            if not self._transformed:
                kernels = tf.split(tf.convert_to_tensor(self.kernel.value), self.experts, -1)
                self._transformed = [winograd.transformed_variable(kernel) for kernel in kernels]
            return winograd.convolve_transformed(x, *self._transformed)
        kernels = tf.split(tf.cast(self.effective_kernel(), x.dtype), self.experts, -1)
        return [convolve(x, kernel, 1, 1, direct=self.direct) for kernel in kernels]


def _unit(vectors, axis):
    return vectors / tf.maximum(tf.norm(vectors, axis=axis, keepdims=True), 1e-12)


class ComposedNorm(keras.layers.Layer):
    """normalised(x) * (1 + scale) + shift with [scale, shift] = sum_e gate_e * table_e, the table [E,2F].

    Statistics that all pixels share (batch norm) are folded into the table: with normalised = x * a + b the result
    is x * s + t with [s, t] = [a, b] + sum_e gate_e * [scale_e * a, scale_e * b + shift_e], for gates of any kind.
    Call: x [N,h,w,channels], gates float32 [B,h,w,1+E] with 1 first, B 1 or N -> the same shape and dtype as x.
    """

    def __init__(self, channels: int, experts: int, *, statistics: str = "syncbatch", name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.statistics = make_statistics(statistics, channels, "statistics")
        self.table = add_array(self, "table", np.zeros((experts, 2 * channels), np.float32))
        self.built = True

    def call(self, x: tf.Tensor, gates: tf.Tensor, training: bool = False) -> tf.Tensor:
        if self.statistics.per_sample:
            x = self.statistics(x, training=training)
            a, b = tf.ones(x.shape[-1]), tf.zeros(x.shape[-1])
        else:
            a, b = self.statistics.affine(x, training)
        scale, shift = tf.split(tf.cast(self.table.value, tf.float32), 2, -1)  # [E,F]
        folded = tf.concat([scale * a, scale * b + shift], -1)  # [E,2F]
        folded = tf.concat([tf.concat([a, b], 0)[None], folded], 0)  # [1+E,2F]
        values = tf.tensordot(tf.cast(gates, x.dtype), tf.cast(folded, x.dtype), 1)  # [B,h,w,2F]
        scale, shift = tf.split(values, 2, -1)
        return x * scale + shift


class ComposedBlock(keras.layers.Layer):
    """shortcut(x) + conv_1(lrelu(norm_1(conv_0(lrelu(norm_0(x)))))), composed convolutions and norms.

    The shortcut, where the width changes, is a spectral 3x3 convolution with bias of a SPADE norm of the labels,
    without activation; else the identity.
    Call: x [B,h,w,in_channels], condition Composition -> [B,h,w,filters].
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        num_classes: int,
        *,
        conv_experts: int,
        norm_experts: int,
        grammar: SCNorm,
        edges: bool,
        hidden: int,
        init: Initializer,
        name: str,
    ) -> None:
        super().__init__(name=name, autocast=False)
        middle = min(in_channels, filters)
        norm = {"statistics": grammar.statistics}
        conv: dict[str, Any] = {"spectral": grammar.spectral, "init": init}
        self.norm_0 = ComposedNorm(in_channels, norm_experts, **norm, name="norm_0")
        self.conv_0 = ComposedConv(in_channels, middle, conv_experts, **conv, name="conv_0")
        self.norm_1 = ComposedNorm(middle, norm_experts, **norm, name="norm_1")
        self.conv_1 = ComposedConv(middle, filters, conv_experts, **conv, name="conv_1")
        self.norm_s: Any = None
        self.conv_s: Any = None
        if in_channels != filters:
            self.norm_s = SPADE(
                in_channels,
                num_classes,
                hidden=hidden,
                edges=edges,
                kernel_size=grammar.kernel_size,
                **norm,
                init=init,
                name="norm_s",
            )
            self.conv_s = Conv(in_channels, filters, 3, padding=1, spectral=True, init=init, name="conv_s")
        self.built = True

    def call(self, x: tf.Tensor, condition: Composition, training: bool = False) -> tf.Tensor:
        shortcut = x
        if self.conv_s is not None:
            shortcut = self.conv_s(self.norm_s(x, condition.label, training=training))
        x = leaky_relu(self.norm_0(x, condition.norm_gates, training=training), training)
        x = self.conv_0(x, condition.conv_gates)
        x = leaky_relu(self.norm_1(x, condition.norm_gates, training=training), training)
        return shortcut + self.conv_1(x, condition.conv_gates)
