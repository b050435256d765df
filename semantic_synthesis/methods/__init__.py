"""All methods by name; the only way to them from outside this package.

A package that is installed beside this one adds a method with an entry point of the group below (its name is the
method's, its object the Method subclass), see CONTRIBUTING.md.
"""

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

from absl import logging

from semantic_synthesis.config import Config
from semantic_synthesis.methods.clade import CLADE
from semantic_synthesis.methods.clvae import CLVAE
from semantic_synthesis.methods.inade import INADE
from semantic_synthesis.methods.method import Method
from semantic_synthesis.methods.oasis import OASIS
from semantic_synthesis.methods.scgan import SCGAN
from semantic_synthesis.methods.sims import SIMS
from semantic_synthesis.methods.spade import SPADE

PLUGINS = "semantic_synthesis.methods"
METHODS: dict[str, type[Method]] = {
    "spade": SPADE,
    "clade": CLADE,
    "inade": INADE,
    "clvae": CLVAE,
    "scgan": SCGAN,
    "oasis": OASIS,
    "sims": SIMS,
}


def _add_plugins():
    """Adds the methods of installed packages; one that cannot be imported is left out with a warning."""
    for point in entry_points(group=PLUGINS):
        try:
            _add(point)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            logging.warning("method %s (%s) left out: %s", point.name, point.value, reason)


def _add(point):
    method = point.load()
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise TypeError("no subclass of semantic_synthesis.methods.method.Method")
    if point.name in METHODS and METHODS[point.name] is not method:
        raise ValueError(f"there is a method {point.name} already")
    if method.config_class.method != point.name:
        raise ValueError(f"its config_class calls it {method.config_class.method!r}")
    METHODS[point.name] = method


_add_plugins()


def method_class(config: Config) -> type[Method]:
    """The class of config.method; ValueError if there is none of that name."""
    if config.method not in METHODS:
        raise ValueError(f"--method {config.method}: unknown; expected one of {', '.join(METHODS)}")
    return METHODS[config.method]


def make_config(method: str = "spade", **options: Any) -> Config:
    """A Config of the method's class; unresolved (data.resolve fills what the dataset decides)."""
    return Config.class_for(method)(**options)


def extra_maps(config: Config) -> Sequence[str]:
    """What other maps the method of a config trains with (see Method)."""
    return method_class(config).extra_maps(config)


def instance_maps(config: Config) -> str | None:
    """What instance maps the method of a config reads: None, "objects" or "regions" (see Method)."""
    return method_class(config).instance_maps(config)
