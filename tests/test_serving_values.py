"""Values and options of the development server, without one: JSON, base64, numbers, turns, tokens, origins."""

import asyncio
import base64
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis.serving import json_values, rest_protocol
from semantic_synthesis.serving.access import Access
from semantic_synthesis.serving.rest_protocol import RequestError
from semantic_synthesis.serving.server import ServeOptions, check, make_app
from semantic_synthesis.serving.turns import Turns

TOKEN = "secret"


# Values


def spec(dtype, rank):
    signature = rest_protocol.saved_model_pb2.SavedModel().meta_graphs.add().signature_def["s"]
    info = signature.inputs["x"]
    info.dtype = dtype.as_datatype_enum
    for _ in range(rank):
        info.tensor_shape.dim.add(size=-1)
    return info


@pytest.mark.parametrize(
    ("dtype", "rank", "value"),
    [
        (tf.string, 1, ["\ud800"]),
        (tf.string, 1, [{"b64": "\ud800"}]),
        (tf.string, 1, json.loads("[" * 900 + "]" * 900)),
        (tf.uint8, 3, json.loads("[" * 900 + "1" + "]" * 900)),
        (tf.float32, 2, [[float("nan")]]),
        (tf.float32, 2, [[1.0, float("-inf")]]),
        (tf.float32, 2, [[1e300]]),
        (tf.float32, 2, [[10**400]]),
        (tf.int64, 1, [2**63]),
        (tf.int64, 1, [True]),
        (tf.uint8, 3, [["A" * 100, ""]]),
        (tf.uint8, 3, [[[1], None]]),
        (tf.uint8, 3, {"b64": "AAAA"}),
    ],
)
def test_values_of_other_kinds_are_400(dtype, rank, value):
    with pytest.raises(RequestError) as caught:
        rest_protocol.to_array("x", value, spec(dtype, rank))
    assert caught.value.status == 400 and str(caught.value).startswith("x: ")


def test_numbers_of_every_type_come_out_as_they_are():
    for dtype, value in ((tf.int64, [-(2**63), 2**63 - 1]), (tf.uint8, [0, 255]), (tf.float32, [1, -2.5])):
        found = rest_protocol.to_array("x", value, spec(dtype, 1))
        assert found.dtype == dtype.as_numpy_dtype and found.tolist() == value
    assert rest_protocol.to_array("x", [[[1, 2]], [[3, 4]]], spec(tf.int32, 3)).tolist() == [
        [[1, 2]],
        [[3, 4]],
    ]


def test_base64_as_tf_serving_reads_it():
    for content in (b"", b"a", b"ab", b"abc", bytes(range(256))):
        packed = base64.b64encode(content).decode()
        for text in (packed, packed.rstrip("="), base64.encodebytes(content).decode(), f" {packed}\r\n"):
            assert json_values.unpack_base64(text) == content
    for text in ("a", "YQ=", "YQ===", "Y=Q=", "Yä==", "Y-__"):
        with pytest.raises(ValueError):
            json_values.unpack_base64(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, [2.5e3, -0], {"b": null}], "c": "\\u00e9\\n", "a": true}',
        "[]",
        "{}",
        " [ 1 , [ ] , { } ]\n",
        "3",
        '"x"',
        "NaN",
        '{"a": {"b": {"c": [[[[1]]]]}}}',
    ],
)
def test_json_is_read_as_by_json(text):
    for body in (text.encode(), text.encode("utf-16"), text.encode("utf-8-sig")):
        np.testing.assert_equal(json_values.parse(body), json.loads(body))


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"[1,]", b"[1 2]", b"{1:2}", b'{"a"}', b'{"a":1,}', b"[1]]", b"\xff\xfe\x00", b'{"a":"\n"}', b"nul",
     b"[" * 5000, b"9" * 5000, b'"\\ud8"', b"[1e]"],
)  # fmt: skip
def test_what_is_no_json_is_400(body):
    with pytest.raises((ValueError, RecursionError)):
        json.loads(body)
    with pytest.raises(json_values.ValueProblem, match="JSON Parse error"):
        json_values.parse(body)


# Turns


def test_turns_go_to_short_requests_and_to_those_that_wait_longest():
    order = []

    def steps(name, count):
        for _ in range(count):
            order.append(name)
            yield name

    async def scenario():
        turns = Turns(1)
        long = [asyncio.create_task(turns.run(steps(name, 200))) for name in "ab"]
        while len(order) < 4:
            await asyncio.sleep(0)
        short = [asyncio.create_task(turns.run(steps(str(number), 1))) for number in range(5)]
        dropped = asyncio.create_task(turns.run(steps("dropped", 1000)))
        await asyncio.gather(*short)
        dropped.cancel()
        return await asyncio.gather(*long)

    assert asyncio.run(asyncio.wait_for(scenario(), 30)) == ["a", "b"]
    assert order.count("a") == order.count("b") == 200 and order.count("dropped") < 50
    last = max(order.index(str(number)) for number in range(5))
    first = min(order.index(str(number)) for number in range(5))
    assert last - first < 20, "each of the short ones waits for one turn of the long ones at most"
    assert {"a", "b"} & set(order[first:last]), "the long ones go on meanwhile"


# Who may ask, and limits


def test_tokens(tmp_path, monkeypatch):
    def refused(options, *values):
        headers = [(b"authorization", value.encode()) for value in values]
        return Access(options).token_refusal({"headers": headers})

    assert refused(ServeOptions()) is None
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for options in (ServeOptions(api_token=TOKEN), ServeOptions(api_token_file=str(file))):
        assert refused(options, f"Bearer {TOKEN}") is None
        for values in ((), ("Bearer wrong",), (TOKEN,), ("Bearer",), (f"Bearer {TOKEN}", f"Bearer {TOKEN}")):
            assert refused(options, *values)[0] == 401
    monkeypatch.setenv("SEMANTIC_SYNTHESIS_API_TOKEN", TOKEN)
    assert refused(ServeOptions())[0] == 401
    file.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        Access(ServeOptions(api_token_file=str(file)))
    with pytest.raises(ValueError, match="one of them"):
        Access(ServeOptions(api_token="a", api_token_file="b"))


@pytest.mark.parametrize(("sent", "status"), [(None, 401), ("Bearer wrong", 401), (f"Bearer {TOKEN}", 200)])
def test_every_request_shows_the_token(sent, status):
    pytest.importorskip("fastapi")
    asked, answered = [], []

    async def answer(request):
        asked.append(request.scope["path"])
        return 200, b"{}"

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        answered.append(message)

    headers = {"host": "localhost"} | ({"authorization": sent} if sent else {})
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/models/m",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    app = make_app(
        SimpleNamespace(answer=answer), Access(ServeOptions(api_token=TOKEN)), logging.getLogger("test")
    )
    asyncio.run(app(scope, receive, send))
    assert answered[0]["status"] == status
    assert asked == (["/v1/models/m"] if status == 200 else [])
    assert ((b"www-authenticate", b"Bearer") in answered[0]["headers"]) == (status == 401)


def test_connections_leave_the_process_files_to_open(monkeypatch):
    """`ulimit -n 1024`: beyond it accepting would fail again and again."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("httptools")
    from semantic_synthesis.serving import connections

    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (1024, 4096))
    assert connections.most_connections(500) == 500
    assert 800 < connections.most_connections(5000) <= 1024 - 100 - connections.ACCEPTED_AT_ONCE


@pytest.mark.parametrize("origin", ["localhost:3000", "http://a/", "http://a/b", "http://", "http://u@a"])
def test_wrong_origins_are_refused_at_the_start(origin):
    with pytest.raises(ValueError, match="--allow_origin"):
        Access(ServeOptions(allow_origin=(origin,)))


@pytest.mark.parametrize(
    "options", [{"max_rows": 0}, {"num_threads": -1}, {"max_body_mb": 0.0}, {"drain_s": -1.0}]
)
def test_limits_that_allow_nothing_are_refused(options):
    with pytest.raises(ValueError, match=f"--{next(iter(options))} "):
        check(ServeOptions(**options))
