"""What lies beside an exported graph, where it goes, and options that are refused."""

import json
import os
import re
import sys

import exports
import pytest
import tensorflow as tf
from google.protobuf import text_format
from helpers import REPOSITORY, assert_user_error, run_here
from test_exporting import SIGNATURES, call

from semantic_synthesis import data
from semantic_synthesis.methods import METHODS, make_config
from semantic_synthesis.options import options_of
from semantic_synthesis.serving import files as serving_files
from semantic_synthesis.serving.model_card import data_of, options_of_run


@pytest.mark.parametrize(
    "name",
    [n if n == "styled" else pytest.param(n, marks=pytest.mark.slow) for n in exports.RUNS],
)
def test_warm_up_requests_run_and_parse(name):
    requests = list(warm_up(exports.exported(name)))
    assert {signature for _, signature, _ in requests} == set(exports.loaded(name))
    for model, signature, inputs in requests:
        assert model == name
        call(name, signature, **inputs)


def warm_up(folder):
    """(model name, signature, {input: array}) of each request, read by TF Serving's own messages if there."""
    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / serving_files.WARMUP_FILE))
    for record in records.as_numpy_iterator():
        log = log_message()()
        log.ParseFromString(record)
        request = log.predict_log.request
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        yield request.model_spec.name, request.model_spec.signature_name, inputs


def log_message():
    """The class PredictionLog: of tensorflow-serving-api, else built from the fields that matter here."""
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

        return PredictionLog
    except ImportError:
        return described_log_message()


def described_log_message():
    """PredictionLog from the published field numbers (prediction_log.proto, predict.proto, model.proto)."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from tensorflow.core.framework import tensor_pb2

    file = descriptor_pb2.FileDescriptorProto(name="described.proto", package="described", syntax="proto3")
    file.dependency.append(tensor_pb2.DESCRIPTOR.name)
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(holder, name, fields):
        found = holder.add(name=name)
        for field, (number, kind) in fields.items():
            added = found.field.add(
                name=field, number=number, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING
            )
            if kind:
                added.type, added.type_name = kinds.TYPE_MESSAGE, kind
        return found

    messages = file.message_type
    message(messages, "ModelSpec", {"name": (1, ""), "signature_name": (3, "")})
    request = message(
        messages,
        "PredictRequest",
        {"model_spec": (1, ".described.ModelSpec"), "inputs": (2, ".described.PredictRequest.InputsEntry")},
    )
    request.field[1].label = kinds.LABEL_REPEATED
    entry = message(
        request.nested_type, "InputsEntry", {"key": (1, ""), "value": (2, ".tensorflow.TensorProto")}
    )
    entry.options.map_entry = True
    message(messages, "PredictLog", {"request": (1, ".described.PredictRequest")})
    message(messages, "PredictionLog", {"predict_log": (6, ".described.PredictLog")})
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("described.PredictionLog"))


def test_warm_up_requests_by_hand_built_messages(monkeypatch):
    message = described_log_message()
    monkeypatch.setattr(sys.modules[__name__], "log_message", lambda: message)
    requests = list(warm_up(exports.exported("styled")))
    assert {signature: set(inputs) for _, signature, inputs in requests} == {
        k: set(v) for k, v in SIGNATURES.items()
    }


def config_messages():
    """(ModelServerConfig, BatchingParameters) from TF Serving's published fields (model_server_config.proto,
    file_system_storage_path_source.proto, session_bundle_config.proto)."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    kinds = descriptor_pb2.FieldDescriptorProto
    name = "described_config"
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    whole, truth, text = kinds.TYPE_INT64, kinds.TYPE_BOOL, kinds.TYPE_STRING
    int64, string = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
    messages = {
        "Specific": {"*versions": (1, whole)}, "Latest": {"num_versions": (1, kinds.TYPE_UINT32)}, "All": {},
        "Policy": {"latest": (100, ".Latest"), "all": (101, ".All"), "specific": (102, ".Specific")},
        "Label": {"key": (1, text), "value": (2, whole)},
        "ModelConfig": {
            "name": (1, text), "base_path": (2, text), "model_platform": (4, text),
            "model_version_policy": (7, ".Policy"), "*version_labels": (8, ".Label"),
        },
        "ModelConfigList": {"*config": (1, ".ModelConfig")},
        "ModelServerConfig": {"model_config_list": (1, ".ModelConfigList")},
        "BatchingParameters": {
            "max_batch_size": (1, int64), "batch_timeout_micros": (2, int64), "max_enqueued_batches": (3, int64),
            "num_batch_threads": (4, int64), "thread_pool_name": (5, string), "*allowed_batch_sizes": (6, whole),
            "pad_variable_length_inputs": (7, truth),
        },
    }  # fmt: skip
    for title, fields in messages.items():
        message = file.message_type.add(name=title)
        for field, (number, kind) in fields.items():
            label = kinds.LABEL_REPEATED if field.startswith("*") else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field.lstrip("*"), number=number, label=label)
            if isinstance(kind, int):
                added.type = kind
            else:
                added.type = kinds.TYPE_MESSAGE
                added.type_name = kind if kind.startswith(".google") else f".{name}{kind}"
    pool = descriptor_pool.Default()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{name}.{title}"))
        for title in ("ModelServerConfig", "BatchingParameters")
    ]


def test_texts_for_tf_serving_are_of_the_documented_fields():
    folder = exports.exported("styled").parent.parent
    models, batching = config_messages()
    found = text_format.Parse((folder / "models.config").read_text(), models())
    paths = {one.name: (one.base_path, one.model_platform) for one in found.model_config_list.config}
    assert paths["styled"] == ("/models/styled", "tensorflow")
    for text, most in ((serving_files._BATCHING_TOGETHER, 8), (serving_files._BATCHING_ONE_BY_ONE, 4)):
        parameters = text_format.Parse(text, batching())
        sizes = list(parameters.allowed_batch_sizes)
        assert parameters.max_batch_size.value == most and (not sizes or sizes[-1] == most)
        assert parameters.num_batch_threads.value == 2 and parameters.max_enqueued_batches.value > 0
    docs = (REPOSITORY / "docs" / "export.md").read_text()
    lines = re.search(r"```text\n(model_version_policy .*?)```", docs, re.S)[1]
    one = text_format.Parse(
        f"model_config_list {{ config {{ {lines} }} }}", models()
    ).model_config_list.config[0]
    assert list(one.model_version_policy.specific.versions) == [1, 2]
    assert {label.key: label.value for label in one.version_labels} == {"stable": 1, "canary": 2}
    with pytest.raises(text_format.ParseError):
        text_format.Parse("max_batch_size: 4", batching())


def test_what_lies_beside_the_graph():
    folder = exports.exported("styled")
    table = json.loads((folder / "assets.extra" / "class_table.json").read_text())
    assert table["num_classes"] == 14 and table["colors"] == exports.TABLE_COLORS.tolist()
    card = (folder / "assets.extra" / "MODEL_CARD.md").read_text()
    for part in (
        "# styled, version 1",
        "Apache-2.0",
        "None stored",
        "`label_png_bytes`",
        "uint8 [N, 32, 32, 3]",
        '"z_dim": 4',
    ):
        assert part in card
    assert str(exports.folder()) not in card
    configs = folder.parent.parent
    exports.exported("free")
    text = (configs / "models.config").read_text()
    assert 'base_path: "/models/free"' in text and 'base_path: "/models/styled"' in text
    assert "max_batch_size" in (configs / "batching.config").read_text()
    assert sorted(os.listdir(folder.parent)) == ["1"]


def test_cards_tell_no_places_of_the_training_machine():
    for name in METHODS:
        config = make_config(method=name, dataset_mode="/home/me/town.json", class_table={"name": "town"})
        options = options_of(config)
        places = {
            n: "/home/me/x" for n in options if n.endswith(("_dir", "_path", "root", "_from", "_weights"))
        }
        config = config.replace(**places)
        text = json.dumps(options_of_run(config)) + data_of(config)
        assert "/home/me" not in text and '"dataset_mode": "town.json"' in text
        assert "semantic_label_path" not in text and '"crop_size"' in text


# Options


def test_versions_count_up_and_are_never_replaced(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("semantic_synthesis.serving.export.ServingGraph", _nothing(made))
    options = {"export_dir": str(tmp_path), "model_name": "m"}
    assert [exports.export_run("styled", **options).name for _ in range(2)] == ["1", "2"]
    assert exports.export_run("styled", **options, version=7).name == "7"
    assert exports.export_run("styled", **options).name == "8"
    with pytest.raises(ValueError, match="exists already"):
        exports.export_run("styled", **options, version=2)
    (tmp_path / "batching.config").write_text("max_batch_size { value: 1 }")
    exports.export_run("styled", **options)
    assert (tmp_path / "batching.config").read_text() == "max_batch_size { value: 1 }"


def _nothing(made):
    """A stand-in for ServingGraph with one trivial signature."""

    class Nothing:
        def __init__(self, config, method, size, label_dtype, batch_rows, *_):
            made.append((size, label_dtype))
            self.table, self.stride = data.ClassTable.from_dict(config.class_table), 2

        def signatures(self):
            specs = {"seed": tf.TensorSpec([None], tf.int64, "seed")}
            trivial = tf.function(lambda inputs: {"out": inputs["seed"]}, autograph=False)
            return {"serving_default": trivial.get_concrete_function(specs)}

    return Nothing


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("semantic_synthesis.serving.export.ServingGraph", _nothing([]))

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("semantic_synthesis.serving.files.write_extras", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        exports.export_run("styled", export_dir=str(tmp_path), model_name="m")
    assert os.listdir(tmp_path / "m") == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("styled", {"model_name": "a/b"}, "model_name 'a/b'; expected letters"),
        ("styled", {"version": -1}, "version -1"),
        ("styled", {"output_height": 64}, "two positive sizes"),
        ("styled", {"output_height": 64, "output_width": 64}, "32 rows and 32 columns only"),
        ("free", {"output_height": 4096, "output_width": 4096}, "at most"),
    ],
)
def test_options_that_cannot_be_are_refused(name, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        exports.export_run(name, export_dir=str(tmp_path), **options)
    assert os.listdir(tmp_path) == []


def test_script_reports_mistakes_in_one_line(tmp_path):
    assert_user_error(run_here("export", ["--checkpoint_dir", str(tmp_path)]), "no config.json")
