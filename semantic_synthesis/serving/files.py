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
from tensorflow.core.framework import tensor_pb2

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
    """{model name: version numbers} of the SavedModels in a folder, ascending."""
    found = {
        name: [
            n for n in versions(os.path.join(export_dir, name)) if _is_saved_model(export_dir, name, str(n))
        ]
        for name in sorted(storage.names_in(export_dir))
    }
    return {name: numbers for name, numbers in found.items() if numbers}


def others(export_dir: str | Path) -> list[str]:
    """What in a folder looks like a version of a model, <name>/<version> or <name>/<target>/<version>, and is none that
    TensorFlow loads; or, where the folder is a model's own, <version>."""
    found = [str(number) for number in versions(export_dir)]
    for name in sorted(storage.names_in(export_dir)):
        folder = os.path.join(export_dir, name)
        if not storage.is_folder(folder) or name.isdecimal():
            continue
        found += [f"{name}/{n}" for n in versions(folder) if not _is_saved_model(folder, str(n))]
        found += [
            f"{name}/{t}" for t in sorted(storage.names_in(folder)) if versions(os.path.join(folder, t))
        ]
    return found


def _is_saved_model(*folders):
    return storage.is_file(os.path.join(*folders, "saved_model.pb"))


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
        "label": label,
        "instance": np.zeros_like(label),
        "region": np.zeros_like(label),
        "seed": np.zeros(1),
        "image": grey,
        "label_png_bytes": png,
        "style_label_png_bytes": png,
        "style_image_bytes": np.array([tf.io.encode_jpeg(grey[0]).numpy()], object),
        "instance_png_bytes": np.array([tf.io.encode_png(np.zeros_like(raw)).numpy()], object),
    }
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


def warm_up_requests(folder: str | Path) -> dict[str, dict[str, np.ndarray]]:
    """{signature: {input: array}} of an exported version, {} where it has no file of them."""
    path = os.path.join(folder, "assets.extra", WARMUP_FILE)
    if not storage.is_file(path):
        return {}
    with errors_only():
        records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    return dict(map(_read_log, records))


def _read_log(record):
    """(signature, {input: array}) of the bytes that `prediction_log` makes."""
    request = dict(_fields(dict(_fields(record))[_PREDICT_LOG]))[_REQUEST]
    signature, inputs = "", {}
    for number, content in _fields(request):
        entry = dict(_fields(content))
        if number == _MODEL_SPEC:
            signature = entry[_SIGNATURE_NAME].decode()
        elif number == _INPUTS:
            tensor = tensor_pb2.TensorProto.FromString(entry[_MAP_VALUE])
            inputs[entry[_MAP_KEY].decode()] = tf.make_ndarray(tensor)
    return signature, inputs


def _fields(content):
    """(number, bytes) of the length-delimited fields of a message, which are all there are in these."""
    at = 0
    while at < len(content):
        key, at = _read_varint(content, at)
        size, at = _read_varint(content, at)
        yield key >> 3, content[at : at + size]
        at += size


def _read_varint(content, at):
    value = shift = 0
    while True:
        value |= (content[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if content[at - 1] < 128:
            return value, at
