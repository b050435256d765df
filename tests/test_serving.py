"""The development server: TF Serving's REST protocol on a loopback port, clients that behave or do not."""

import asyncio
import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import exports
import numpy as np
import pytest
import tensorflow as tf
from helpers import REPOSITORY, assert_user_error, finish

from semantic_synthesis.serving import rest_protocol
from semantic_synthesis.serving.rest_protocol import RequestError
from semantic_synthesis.serving.served_model import load_models
from semantic_synthesis.serving.server import ServeOptions, listen

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

SERVE = [sys.executable, "-m", "semantic_synthesis", "serve"]
PREDICT = "/v1/models/styled:predict"


def start_server(export_dir, *flags):
    return subprocess.Popen(
        [*SERVE, f"--export_dir={export_dir}", "--rest_api_port=0", *flags],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def server():
    """(process, port) of a real server with both tiny models; bodies up to 1 MB."""
    export_dir = exports.exported("styled").parent.parent
    exports.exported("free")
    process = start_server(export_dir, "--max_body_mb=1")
    try:
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, process.communicate()
        yield process, int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])
    finally:
        process.kill()
        process.communicate()


def ask(port, method, path, body=None, headers=()):
    """(status, answer) of one request; the answer is parsed JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def png_row(png, seed):
    return {"label_png_bytes": {"b64": base64.b64encode(png).decode()}, "seed": seed}


def png_request(*rows):
    return json.dumps({"signature_name": "png", "instances": rows}).encode()


# The protocol


def test_status_and_metadata(server):
    _, port = server
    status, answer = ask(port, "GET", "/v1/models/styled")
    available = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert (status, answer) == (200, {"model_version_status": [available]})
    assert ask(port, "GET", "/v1/models/styled/versions/1") == (status, answer)
    status, answer = ask(port, "GET", "/v1/models/styled/metadata")
    assert status == 200 and answer["model_spec"] == {"name": "styled", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert sorted(signatures) == [
        "encode_style",
        "picture",
        "png",
        "png_encode_style",
        "png_style",
        "png_synthesize_style",
        "sample_style",
        "serving_default",
        "synthesize_style",
    ]
    found = signatures["serving_default"]["inputs"]["label"]
    assert found["dtype"] == "DT_UINT8" and signatures["encode_style"]["outputs"]["z"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in found["tensor_shape"]["dim"]] == ["-1", "32", "32"]


def test_client_of_the_docs_needs_the_standard_library_only(server, tmp_path):
    _, port = server
    text = (REPOSITORY / "docs" / "export.md").read_text()
    (tmp_path / "client.py").write_text(re.search(r"```python\n(# python client.py.*?)```", text, re.S)[1])
    label, _ = exports.layouts(1)
    (tmp_path / "map.png").write_bytes(exports.png(label[0]))
    url = f"http://127.0.0.1:{port}/v1/models/styled"
    command = [sys.executable, "-I", "-S", "client.py", url, "map.png", "picture.png", "5"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    found = exports.unpacked([(tmp_path / "picture.png").read_bytes()])
    exports.assert_same_pixels(found, exports.in_process("styled", label, [5]))


def test_body_of_the_docs_can_be_pasted(server):
    text = (REPOSITORY / "docs" / "export.md").read_text().replace("* 128", "* 32")
    code = re.search(r"^python -c '(import json.*)' > body.json$", text, re.M)[1]
    body = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    status, answer = ask(server[1], "POST", PREDICT, body)
    assert status == 200 and np.shape(answer["predictions"]) == (1, 32, 32, 3)


def test_instances_and_inputs_of_ids(server):
    _, port = server
    label, _ = exports.layouts(2)
    expected = exports.in_process("styled", label, [1, 2])
    rows = [{"label": x.tolist(), "seed": s} for x, s in zip(label, [1, 2], strict=True)]
    status, answer = ask(port, "POST", PREDICT, json.dumps({"instances": rows}))
    assert status == 200
    exports.assert_same_pixels(np.array(answer["predictions"], np.uint8), expected)
    columns = json.dumps(
        {"signature_name": "serving_default", "inputs": {"label": label.tolist(), "seed": [1, 2]}}
    )
    status, answer = ask(port, "POST", "/v1/models/styled/versions/1:predict", columns)
    assert status == 200
    exports.assert_same_pixels(np.array(answer["outputs"], np.uint8), expected)


def test_styles_travel_as_json(server):
    _, port = server
    label, _ = exports.layouts(1)
    photo = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).tolist()
    status, answer = ask(
        port, "POST", PREDICT, json.dumps({"signature_name": "encode_style", "instances": photo})
    )
    assert status == 200 and np.shape(answer["predictions"]) == (1, 4)
    row = {"label": label[0].tolist(), "z": answer["predictions"][0]}
    request = {"signature_name": "synthesize_style", "instances": [row]}
    status, answer = ask(port, "POST", PREDICT, json.dumps(request))
    assert status == 200 and np.shape(answer["predictions"]) == (1, 32, 32, 3)


_IDS = {"label": [[0] * 32] * 32, "seed": 0}
_PNG = {"signature_name": "png"}
_BAD = {
    "no JSON": (b"{", "JSON Parse error"),
    "a list": (b"[]", "JSON Parse error"),
    "too deep": (b"[" * 100000, "JSON Parse error"),
    "nothing": (b"{}", "exactly one of 'instances' and 'inputs'"),
    "no rows": (b'{"instances": []}', "one or more rows"),
    "signature": (b'{"signature_name": "no", "instances": [1]}', 'signature name: "no" not found'),
    "missing": (json.dumps({"instances": [{"label": _IDS["label"]}]}), "missing but required ['seed']"),
    "extra": (json.dumps({"instances": [{**_IDS, "x": 1}]}), "sent extra ['x']"),
    "ids": (json.dumps({"instances": [{**_IDS, "label": [[99] * 32] * 32}]}), "class ids 99 unknown"),
    "too large": (json.dumps({"instances": [{**_IDS, "label": [[300] * 32] * 32}]}), "300 does not fit"),
    "size": (json.dumps({"instances": [{**_IDS, "label": [[0] * 8] * 4}]}), "8x4 pixels; this model takes"),
    "ragged": (json.dumps({"instances": [{**_IDS, "label": [[0], [0, 1]]}]}), "different lengths"),
    "rank": (json.dumps({"instances": [{**_IDS, "label": 0}]}), "label: found 1 dimensions"),
    "fractions": (json.dumps({"instances": [{**_IDS, "seed": 0.5}]}), "numbers of type int64"),
    "text": (json.dumps({"instances": [{**_IDS, "seed": "1"}]}), "numbers of type int64"),
    "no PNG": (png_request(png_row(b"no picture", 0)), "label_png_bytes: not a PNG"),
    "cut off": (
        png_request(png_row(exports.png(np.zeros((32, 32), np.uint8))[:60], 0)),
        "label_png_bytes: damaged or cut off PNG; send it whole",
    ),
    "b64": (json.dumps({**_PNG, "instances": [{"label_png_bytes": {"b64": "?"}, "seed": 1}]}), "not base64"),
    "bytes": (json.dumps({**_PNG, "instances": [{"label_png_bytes": 3, "seed": 1}]}), 'expected {"b64"'),
    "row of ids": (
        json.dumps({"instances": [_IDS, {**_IDS, "label": [[99] * 32] * 32}]}),
        "row 1: label: class ids 99 unknown",
    ),
    "row of files": (
        png_request(*[png_row(exports.png(np.zeros((32, 32), np.uint8)), 0)] * 2, png_row(b"no", 0)),
        "row 2: label_png_bytes: not a PNG",
    ),
    "row of numbers": (
        json.dumps({"instances": [_IDS, {**_IDS, "seed": 0.5}]}),
        "row 1: seed: expected numbers",
    ),
    "signature list": (json.dumps({"signature_name": "pgn"}), "there are: encode_style, picture, png, "),
    "length of z": (
        json.dumps(
            {"signature_name": "synthesize_style", "instances": [{"label": [[0] * 32] * 32, "z": [0] * 3}]}
        ),
        "z: expected [N,4], got [1,3]",
    ),
    "rows": (json.dumps({**_PNG, "inputs": {"label_png_bytes": ["a"], "seed": [1, 2]}}), "equally many"),
}


@pytest.mark.parametrize("case", _BAD)
def test_bad_requests_get_400_and_the_reason(server, case):
    body, part = _BAD[case]
    status, answer = ask(server[1], "POST", PREDICT, body)
    assert status == 400 and list(answer) == ["error"] and part in answer["error"], answer


@pytest.mark.parametrize(
    ("method", "path", "status", "part"),
    [
        ("GET", "/", 400, "Malformed request: GET /"),
        ("GET", PREDICT, 400, "Malformed request"),
        ("POST", "/v1/models/styled", 400, "Malformed request"),
        ("POST", "/v1/models/styled:classify", 400, "Malformed request"),
        ("GET", "/v1/models", 400, "expected GET /v1/models/NAME, "),
        (
            "GET",
            "/v1/models/other",
            404,
            "Servable not found for request: Latest(other); there are: free, styled",
        ),
        ("POST", "/v1/models/other:predict", 404, "Latest(other)"),
        ("POST", "/v1/models/styled/versions/9:predict", 404, "Specific(styled, 9)"),
    ],
)
def test_other_addresses(server, method, path, status, part):
    found, answer = ask(server[1], method, path, b"{}" if method == "POST" else None)
    assert found == status and part in answer["error"]


# Bounds


def test_large_bodies_are_refused_without_being_kept(server):
    process, port = server
    before = resident_mb(process.pid)
    assert ask(port, "POST", PREDICT, bytes(100_000_000))[0] == 413
    assert resident_mb(process.pid) - before < 50
    with socket.create_connection(("127.0.0.1", port)) as client:
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
        )
        client.sendall(head.encode())
        assert b" 413 " in client.recv(1000).split(b"\r\n")[0]


def resident_mb(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_a_full_queue_answers_429():
    from semantic_synthesis.serving.server import Service

    release = threading.Event()

    def steps(body):
        release.wait(30)
        yield body

    slow = SimpleNamespace(name="m", version=1, steps=steps)
    service = Service(ServeOptions(max_queue=2, num_threads=1), {"m": slow})

    def request(body):
        async def stream():
            yield body

        url = SimpleNamespace(path="/v1/models/m:predict")
        return SimpleNamespace(method="POST", url=url, headers={}, stream=stream)

    async def scenario():
        waiting = [asyncio.create_task(service.answer(request(body))) for body in (b"1", b"2")]
        await asyncio.sleep(0.05)
        refused = await service.answer(request(b"3"))
        release.set()
        accepted = await asyncio.gather(*waiting)
        return refused, accepted, await service.answer(request(b"4"))

    refused, accepted, later = asyncio.run(scenario())
    assert refused[0] == 429 and "2 requests" in json.loads(refused[1])["error"]
    assert accepted == [(200, b"1"), (200, b"2")] and later == (200, b"4")


def test_metadata_that_takes_its_time_keeps_nobody_waiting():
    """A run without an export traces its signatures for it: not in the thread that listens."""
    from semantic_synthesis.serving.server import Service

    threads = []

    def described():
        threads.append(threading.current_thread())
        return {}

    model = SimpleNamespace(name="m", version=1, described=described)
    url = SimpleNamespace(path="/v1/models/m/metadata")
    request = SimpleNamespace(method="GET", url=url, headers={})

    async def scenario():
        return await Service(ServeOptions(num_threads=1), {"m": model}).answer(request)

    status, body = asyncio.run(scenario())
    assert status == 200 and json.loads(body)["model_spec"]["name"] == "m"
    assert threads != [threading.current_thread()] and len(threads) == 1


# Many clients


def test_no_answer_is_lost_or_mixed_up_among_bad_requests(server):
    _, port = server
    label, _ = exports.layouts(4)
    maps = [exports.png(x) for x in label]
    seeds = np.arange(24)
    function = exports.loaded("styled")["png"]
    pictures = function(label_png_bytes=tf.constant([maps[s % 4] for s in seeds]), seed=tf.constant(seeds))
    expected = pictures["image_png_bytes"].numpy()
    bad = [b"{", *(_BAD[name][0] for name in ("ids", "size", "no PNG")), bytes(3_000_000), None]
    problems = []

    def client(number):
        try:
            for i in range(12):
                seed = (number * 5 + i) % 24
                status, answer = ask(port, "POST", PREDICT, png_request(png_row(maps[seed % 4], int(seed))))
                assert status == 200, answer
                assert base64.b64decode(answer["predictions"][0]["b64"]) == expected[seed]
                if i % 4 == number % 4:
                    disturb(bad[(number + i) % len(bad)])
        except Exception as error:
            problems.append(f"client {number}: {error!r}")

    def disturb(body):
        if body is None:
            with socket.create_connection(("127.0.0.1", port)) as cut:
                cut.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{{".encode())
        else:
            assert ask(port, "POST", PREDICT, body)[0] in (400, 413)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems


def test_sigterm_answers_what_was_accepted(server):
    """The last test of the server: it ends it."""
    process, port = server
    label, _ = exports.layouts(1)
    body = png_request(*[png_row(exports.png(label[0]), seed) for seed in range(60)])
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(port, "POST", PREDICT, body))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200] * 3
    assert all(len(answer["predictions"]) == 60 for _, answer in answers)
    assert process.wait(60) == 0
    said = re.findall("stopping: ([0-9]) requests in flight, up to 60 s", process.stderr.read())
    assert len(said) == 1 and int(said[0]) > 0
    with pytest.raises(ConnectionRefusedError):
        ask(port, "GET", "/v1/models/styled")


def test_warm_and_beside_other_targets_and_gone_at_once(tmp_path):
    """Says what it leaves out, what it warmed up, every model's address, and that it stops."""
    shutil.copytree(exports.exported("free"), tmp_path / "first" / "3")
    (tmp_path / "first" / "onnx" / "1").mkdir(parents=True)
    (tmp_path / "first" / "4").mkdir()
    (tmp_path / "second").symlink_to(exports.exported("free").parent)
    process = start_server(tmp_path, "--warmup")
    try:
        addresses = [process.stdout.readline().split("/")[-1].strip() for _ in range(2)]
        assert addresses == ["first", "second"]
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and time.monotonic() - before < 5  # seconds, of 0.2 on an idle machine
    assert "stopping: 0 requests in flight\n" in said
    assert "no saved_model.pb for TensorFlow: first/4, first/onnx\n" in said
    assert all(re.search(rf"{name}: [2-9] signatures warmed up in ", said) for name in addresses)


# Without a server


def test_mistakes_at_the_start_are_one_line(tmp_path):
    assert_user_error(finish(start_server(tmp_path)), str(tmp_path), "written by export.py")


def test_folders_without_a_saved_model(tmp_path):
    for place in ("demo/lite/1", "demo/onnx/2"):
        (tmp_path / place).mkdir(parents=True)
    where = re.escape(str(tmp_path))
    with pytest.raises(ValueError, match=r"no <model name>/<version>/saved_model.pb .*demo/lite, demo/onnx"):
        load_models(tmp_path)
    with pytest.raises(ValueError, match=rf"\(here are lite/1, onnx/2\); .* take --export_dir {where}$"):
        load_models(tmp_path / "demo")


def test_bodies_do_not_wait_for_acknowledgements():
    """Else an answer's second part comes 40 ms after the first (Nagle's algorithm and delayed acknowledgements)."""
    with listen(ServeOptions(rest_api_port=0)) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.proto == socket.IPPROTO_TCP  # what asyncio looks at


def test_port_in_use_is_one_line():
    from semantic_synthesis.serving.server import serve

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"127.0.0.1:{port}: cannot listen"):
            serve(ServeOptions(rest_api_port=port))


def test_answers_name_outputs_only_where_there_are_several():
    arrays = {"a": np.arange(2), "b_bytes": np.array([b"x", b"y"], object)}
    rows = json.loads(rest_protocol.encode_answer(arrays, by_rows=True))
    assert rows == {
        "predictions": [{"a": 0, "b_bytes": {"b64": "eA=="}}, {"a": 1, "b_bytes": {"b64": "eQ=="}}]
    }
    columns = json.loads(rest_protocol.encode_answer(arrays, by_rows=False))
    assert columns == {"outputs": {"a": [0, 1], "b_bytes": [{"b64": "eA=="}, {"b64": "eQ=="}]}}
    text = json.loads(rest_protocol.encode_answer({"s": np.array([b"x"], object)}, by_rows=True))
    assert text == {"predictions": ["x"]}


def test_strings_of_any_rank_and_single_inputs():
    info = rest_protocol.saved_model_pb2.SavedModel().meta_graphs.add().signature_def["s"].inputs["x"]
    info.dtype = tf.string.as_datatype_enum
    info.tensor_shape.dim.add(), info.tensor_shape.dim.add()
    found = rest_protocol.to_array("x", [["a", {"b64": "Yg=="}]], info)
    assert found.tolist() == [[b"a", b"b"]]
    with pytest.raises(RequestError, match="different lengths"):
        rest_protocol.to_array("x", [["a"], ["b", "c"]], info)
