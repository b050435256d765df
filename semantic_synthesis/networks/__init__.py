"""Networks that several methods share."""

from semantic_synthesis.layers.edges import edge_map
from semantic_synthesis.networks.encoder import Encoder
from semantic_synthesis.networks.generator import (
    DOUBLINGS,
    Block,
    Generator,
    double,
    generator_strides,
    spade_layout,
)
from semantic_synthesis.networks.normed import NormedConv, parse_norm

__all__ = [
    "DOUBLINGS",
    "Block",
    "Encoder",
    "Generator",
    "NormedConv",
    "double",
    "edge_map",
    "generator_strides",
    "parse_norm",
    "spade_layout",
]
