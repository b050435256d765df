"""The files beside an exported graph: warm-up requests, class table, model card, TF Serving's configurations.

The warm-up file is a TFRecord of tensorflow.serving.PredictionLog messages, encoded by hand because the
package with their classes is large and TensorFlow does not need it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from semantic_synthesis import storage
from semantic_synthesis.data import ClassTable
from semantic_synthesis.data import regions as data_regions
from semantic_synthesis.files import write_text

WARMUP_FILE, CLASS_FILE, CARD_FILE = "tf_serving_warmup_requests", "class_table.json", "MODEL_CARD.md"
_OURS = "# Written by export.py. Without this line export.py leaves the file alone.\n"
# Field numbers of tensorflow_serving/apis: prediction_log, predict, model
_PREDICT_LOG, _REQUEST, _MODEL_SPEC, _INPUTS = 6, 1, 1, 2
_MODEL_NAME, _SIGNATURE_NAME, _MAP_KEY, _MAP_VALUE = 1, 3, 1, 2
_BATCHING_TOGETHER = """\
max_batch_size { value: 8 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 8 }
num_batch_threads { value: 2 }
allowed_batch_sizes: 1
allowed_batch_sizes: 2
allowed_batch_sizes: 4
allowed_batch_sizes: 8
"""
_BATCHING_ONE_BY_ONE = """\
max_batch_size { value: 4 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 16 }
num_batch_threads { value: 2 }
"""


def versions(folder: str | Path) -> list[int]:
    """The version numbers in a model's folder, ascending."""
    try:
        entries = storage.names_in(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(e) for e in entries if e.isdecimal() and storage.is_folder(os.path.join(folder, e)))


def models(export_dir: str | Path) -> dict[str, list[int]]:
    """{model name: version numbers} of the models in a folder."""
    found = {name: versions(os.path.join(export_dir, name)) for name in sorted(storage.names_in(export_dir))}
    return {name: numbers for name, numbers in found.items() if numbers}


def write_extras(export: Any, run_dir: str | Path, folder: Path) -> None:
    """Writes warm-up requests, class table and model card into `assets.extra`, which TF Serving passes by."""
    from semantic_synthesis.serving.model_card import model_card  # knows all methods; the server needs none

    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for signature, inputs in example_inputs(export).items():
            writer.write(prediction_log(export.name, signature, inputs))
    write_described(export.table, model_card(export, run_dir), folder)


def write_described(table: ClassTable, card: str, folder: Path) -> None:
    """Writes class table and model card into a folder."""
    described = {"num_classes": table.num_classes, **table.to_dict()}
    (folder / CLASS_FILE).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def write_server_configs(export_dir: str, batch_rows: bool) -> None:
    """models.config (every model in the folder) and batching.config, unless the user made them their own."""
    entries = [_MODEL_ENTRY.format(name=name) for name in models(export_dir)]
    _write_ours(os.path.join(export_dir, "models.config"), "model_config_list {\n" + "".join(entries) + "}\n")
    _write_ours(
        os.path.join(export_dir, "batching.config"),
        _BATCHING_TOGETHER if batch_rows else _BATCHING_ONE_BY_ONE,
    )


_MODEL_ENTRY = """\
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
"""


def _write_ours(path, text):
    if storage.exists(path) and not storage.read(path).startswith(_OURS.encode()):
        return
    write_text(path, _OURS + text)


@contextmanager
def errors_only() -> Iterator[None]:
    """Nothing below errors in the log: saving and loading list captured tensors and gradients nobody needs."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


# Warm-up requests


def example_inputs(export: Any) -> dict[str, dict[str, np.ndarray]]:
    """{signature: {input: array}}: one row of bands of all classes, at the size of the pictures."""
    config = export.config
    height, width = export.size if export.size[0] else (config.crop_height, config.crop_size)
    bands = np.arange(height * width) * export.table.num_classes // (height * width)
    label = bands.reshape(1, height, width)
    grey = np.full((1, config.crop_height, config.crop_size, 3), 128, np.uint8)
    raw = np.array(export.table.raw_ids, np.uint16)[label[0]][..., None]
    png = np.array([tf.io.encode_png(raw).numpy()], object)
    values = {
        "label": label, "instance": np.zeros_like(label), "region": np.zeros_like(label),
        "seed": np.zeros(1), "image": grey,
        "label_png_bytes": png, "style_label_png_bytes": png,
        "style_image_bytes": np.array([tf.io.encode_jpeg(grey[0]).numpy()], object),
        "instance_png_bytes": np.array([tf.io.encode_png(np.zeros_like(raw)).numpy()], object),
    }  # fmt: skip
    regions = int(data_regions(label[0]).max()) + 1  # what a style by regions needs a row for
    found = {}
    for signature, function in export.signatures.items():
        specs = function.structured_input_signature[0][0]
        found[signature] = {
            name: values[name].astype(spec.dtype.as_numpy_dtype)
            if name in values
            else np.zeros([1, *(n or regions for n in spec.shape[1:])], spec.dtype.as_numpy_dtype)
            for name, spec in specs.items()
        }
    return found


def prediction_log(model: str, signature: str, inputs: dict[str, np.ndarray]) -> bytes:
    """Bytes of a PredictionLog with one Predict request; inputs {name: NumPy array}."""
    spec = _field(_MODEL_NAME, model.encode()) + _field(_SIGNATURE_NAME, signature.encode())
    request = _field(_MODEL_SPEC, spec)
    for name, array in inputs.items():
        tensor = tf.make_tensor_proto(array).SerializeToString()
        request += _field(_INPUTS, _field(_MAP_KEY, name.encode()) + _field(_MAP_VALUE, tensor))
    return _field(_PREDICT_LOG, _field(_REQUEST, request))


def _field(number, content):
    """A length-delimited protocol buffer field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value):
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
