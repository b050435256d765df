"""All methods by name; the only way to them from outside this package."""

from semantic_synthesis.methods.clade import CLADE
from semantic_synthesis.methods.inade import INADE
from semantic_synthesis.methods.spade import SPADE

METHODS = {"spade": SPADE, "clade": CLADE, "inade": INADE}


def method_class(config):
    """The class of config.method; ValueError if there is none of that name."""
    if config.method not in METHODS:
        raise ValueError(f"--method {config.method}: unknown; expected one of {', '.join(METHODS)}")
    return METHODS[config.method]


def instance_maps(config):
    """What instance maps the method of a config reads: None, "objects" or "regions" (see Method)."""
    return method_class(config).instance_maps(config)
