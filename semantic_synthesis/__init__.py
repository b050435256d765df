"""Semantic image synthesis in TensorFlow: a label map and a style in, a picture out.

    import semantic_synthesis as ss

    run = ss.load("demo_spade")
    label = ss.read_label("map.png", run.table)
    picture = run.paint(label, seed=3)                                  # uint8 [h,w,3]
    evening = run.paint(label, photo=ss.read_image("evening.jpg"))
    ss.write_png("evening.png", evening)

Names are imported when they are first used: importing this package alone does not import TensorFlow.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = [
    "METHODS",
    "Synthesizer",
    "__version__",
    "load",
    "read_image",
    "read_instance",
    "read_label",
    "write_png",
]

if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    raise ImportError(
        f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}; semantic_synthesis needs Keras on TensorFlow: "
        "unset the variable or set KERAS_BACKEND=tensorflow"
    )
os.environ["KERAS_BACKEND"] = "tensorflow"

if TYPE_CHECKING:
    from semantic_synthesis.data import read_image, read_instance, read_label
    from semantic_synthesis.inference import Synthesizer
    from semantic_synthesis.inference import load_run as load
    from semantic_synthesis.methods import METHODS
    from semantic_synthesis.pictures import write_png

_PLACES = {
    "METHODS": ("methods", "METHODS"),
    "Synthesizer": ("inference", "Synthesizer"),
    "load": ("inference", "load_run"),
    "read_image": ("data", "read_image"),
    "read_instance": ("data", "read_instance"),
    "read_label": ("data", "read_label"),
    "write_png": ("pictures", "write_png"),
}


def __getattr__(name: str) -> Any:
    """A public name, imported now."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
