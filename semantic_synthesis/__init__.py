"""Semantic image synthesis in TensorFlow: a label map and a style in, a picture out."""

import os

__version__ = "0.1.0"

if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    raise ImportError(
        f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}; semantic_synthesis needs Keras on TensorFlow: "
        "unset the variable or set KERAS_BACKEND=tensorflow"
    )
os.environ["KERAS_BACKEND"] = "tensorflow"
