"""Building blocks that every method shares."""

from semantic_synthesis.layers.convolution import Conv, Dense, add_array, convolve
from semantic_synthesis.layers.initialization import Initializer
from semantic_synthesis.layers.modulation import LabelModulation, label_convolution, one_hot_semantics
from semantic_synthesis.layers.patches import LabelPlan, label_tokens, modulation_form, plan_label
from semantic_synthesis.layers.residual import ResidualBlock
from semantic_synthesis.layers.statistics import BatchNorm, InstanceNorm

__all__ = [
    "BatchNorm",
    "Conv",
    "Dense",
    "Initializer",
    "InstanceNorm",
    "LabelModulation",
    "LabelPlan",
    "ResidualBlock",
    "add_array",
    "convolve",
    "label_convolution",
    "label_tokens",
    "modulation_form",
    "one_hot_semantics",
    "plan_label",
]
