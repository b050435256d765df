"""All methods by name; the only way to them from outside this package."""

from semantic_synthesis.methods.spade import SPADE

METHODS = {"spade": SPADE}
