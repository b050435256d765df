"""The development server against clients that ask too much, stall, or should not ask at all."""

import gzip
import http.client
import json
import os
import re
import signal
import socket
import threading
import time

import exports
import pytest
from test_serving import PREDICT, ask, png_request, png_row, start_server

from semantic_synthesis.serving import rest_protocol
from semantic_synthesis.serving.rest_protocol import RequestError

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

ORIGIN = "http://localhost:3000"
FLAGS = [
    "--max_body_mb=2",
    "--max_rows=100",
    f"--allow_origin={ORIGIN}",
    "--allow_host=pictures.example",
    "--drain_s=1",
    "--max_connections=80",
]


def started(*flags):
    process = start_server(exports.exported("styled").parent.parent, *flags)
    line = process.stdout.readline()
    assert "http://127.0.0.1:" in line, process.communicate()
    return process, int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])


@pytest.fixture(scope="module")
def server():
    """(process, port) of a server with limits."""
    process, port = started(*FLAGS)
    yield process, port
    process.kill()
    process.communicate()


def raw(port, *pieces, half_closed=False, timeout=20):
    """All that the server sends back to some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        for piece in pieces:
            client.sendall(piece)
        if half_closed:
            client.shutdown(socket.SHUT_WR)
        found = b""
        while chunk := client.recv(65536):
            found += chunk
        return found


def one_row(seed=0):
    return png_request(png_row(exports.png(exports.layouts(1)[0][0]), seed))


def error_of(answer):
    """(status, text) of raw bytes that hold a JSON error."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/json" in head
    return int(head.split()[1]), json.loads(body)["error"]


# Memory and rows


def test_texts_in_place_of_numbers_cost_no_memory(server):
    process, port = server
    assert ask(port, "POST", PREDICT, one_row())[0] == 200
    before = peak_mb(process.pid)
    body = json.dumps({"instances": [{"label": ["A" * 400000] + [""] * 1000, "seed": 1}]})
    status, answer = ask(port, "POST", PREDICT, body)
    assert status == 400 and "label" in answer["error"]
    assert peak_mb(process.pid) - before < 100


def peak_mb(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1]) / 1e3


def test_rows_and_numbers_are_limited(server):
    _, port = server
    row = {"label": [[0]], "seed": 0}
    for body in ({"instances": [row] * 101}, {"inputs": {"label": [[[0]]] * 101, "seed": [0] * 101}}):
        status, answer = ask(port, "POST", PREDICT, json.dumps(body))
        assert status == 400 and "101 rows" in answer["error"] and "--max_rows" in answer["error"]
    signatures = rest_protocol.read_signatures(exports.exported("styled"))
    with pytest.raises(RequestError, match="more numbers than 1 rows"):
        rest_protocol.parse_request(b"[" + b"[]," * 10000 + b"[]]", signatures, 1)


def test_small_requests_pass_large_ones(server):
    """One client's largest requests leave another's pictures in time."""
    _, port = server
    label, _ = exports.layouts(1)
    rows = [png_row(exports.png(label[0]), seed) for seed in range(100)]
    large, answers = png_request(*rows), []
    threads = [
        threading.Thread(target=lambda: answers.append((ask(port, "POST", PREDICT, large), time.monotonic())))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    small = []
    while any(thread.is_alive() for thread in threads):
        start = time.monotonic()
        assert ask(port, "POST", PREDICT, one_row(3))[0] == 200
        small.append((time.monotonic() - start, time.monotonic()))
    assert all(status == 200 and len(answer["predictions"]) == 100 for (status, answer), _ in answers)
    before = [seconds for seconds, end in small if end < min(end for _, end in answers)]
    assert len(before) >= 10, "ten small requests while no large one was done"


# Bad requests


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/styled/versions/" + "9" * 5000, 400),
        ("GET", "/v1/models/styled/versions/999999999999999999", 404),
        ("TRACE", "/v1/models/styled", 400),
        ("GET", "*", 400),
        ("OPTIONS", "*", 400),
        ("PROPFIND", "/v1/models/styled", 400),
        ("HEAD", "/x", 400),
    ],
)
def test_any_method_and_address_gets_json(server, method, path, status):
    answer = raw(
        server[1], f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    if method == "HEAD":
        assert answer.split()[1] == b"400"
    else:
        assert error_of(answer)[0] == status


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b'{"signature_name":"png","instances":[{"label_png_bytes":"\\ud800","seed":0}]}', "surrogate"),
        (
            b'{"signature_name":"png","instances":[{"label_png_bytes":'
            + b"[" * 900
            + b"]" * 900
            + b',"seed":0}]}',
            "label_png_bytes",
        ),
        (b'{"signature_name":["png"],"instances":[1]}', "signature name"),
        (b"\xff\xff", "JSON Parse error"),
    ],
)
def test_wrong_bodies_are_400(server, body, part):
    status, answer = ask(server[1], "POST", PREDICT, body)
    assert status == 400 and part in answer["error"]


def test_styles_that_are_no_numbers_are_refused(server):
    _, port = server
    for z in ("NaN", "Infinity", "-Infinity", "1e999"):
        row = f'{{"label": {[[0] * 32] * 32}, "z": [0, {z}, 0, 0]}}'
        body = f'{{"signature_name": "synthesize_style", "instances": [{row}]}}'
        status, answer = ask(port, "POST", PREDICT, body)
        assert status == 400 and answer["error"].startswith("z: NaN, Infinity")


def test_no_http_is_answered_in_json(server):
    _, port = server
    for text in (b"\x16\x03\x01\x02\x00\x01\n\n", b"GET\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"):
        assert error_of(raw(port, text))[0] == 400
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET /v1/models/styled HTTP/1.1\r\nHost: localhost\r\nX: ")
        time.sleep(0.1)  # more than one piece
        client.sendall(b"a" * 66_000)
        assert client.recv(100).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_client_that_asks_for_http_2_is_answered_as_any(server, chunked, pieces):
    """Java's HttpClient asks so; the body must not be taken for empty."""
    body = one_row(5)
    status, answer = ask(server[1], "POST", PREDICT, body)
    size = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    asks = (
        b"Connection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    )
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n".encode() + asks + size + b"\r\n\r\n"
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    found = raw(server[1], *([head, sent] if pieces == 2 else [head + sent]))
    assert int(found.split()[1]) == status == 200 and json.loads(found.partition(b"\r\n\r\n")[2]) == answer


@pytest.mark.parametrize(
    "how", [b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
def test_bodies_of_other_upgrades_are_not_taken_for_empty_ones(server, how):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n"
    status, text = error_of(raw(server[1], head.encode() + how))
    assert status == 400 and "Upgrade with a body: expected HTTP/1.1 without" in text
    status = head.replace("POST", "GET").replace(":predict", "").encode() + b"Connection: close\r\n\r\n"
    assert raw(server[1], status).startswith(b"HTTP/1.1 200 ")


def test_gzip_bodies(server):
    _, port = server
    body = one_row(5)
    status, answer = ask(port, "POST", PREDICT, body)
    packed = gzip.compress(body)
    assert ask(port, "POST", PREDICT, packed, {"Content-Encoding": "gzip"}) == (status, answer)
    for wrong, encoding, expected in (
        (body, "gzip", 400),
        (packed[:-5], "gzip", 400),
        (packed + b"x", "gzip", 400),
        (packed, "br", 415),
        (gzip.compress(bytes(50_000_000)), "gzip", 413),
    ):
        found, told = ask(port, "POST", PREDICT, wrong, {"Content-Encoding": encoding})
        assert found == expected and "error" in told


# Clients that stall


def test_half_closed_clients_get_their_answer(server):
    _, port = server
    body = one_row(1)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for pieces in ((head + body,), (head, body)):
        found = raw(port, *pieces, half_closed=True)
        assert found.startswith(b"HTTP/1.1 200") and b"predictions" in found
    assert raw(port, b"GET /v1/mod", half_closed=True) == b""


def test_stalled_bodies_take_no_place_in_the_queue(server):
    _, port = server
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n1".encode()
    stalled = [socket.create_connection(("127.0.0.1", port)) for _ in range(70)]
    try:
        for client in stalled:
            client.sendall(head)
        time.sleep(0.3)
        assert ask(port, "POST", PREDICT, one_row())[0] == 200
    finally:
        for client in stalled:
            client.close()


def test_silent_connections_make_room(server):
    process, port = server
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    try:
        for _ in range(3):
            assert ask(port, "POST", PREDICT, one_row())[0] == 200
        deadline = time.monotonic() + 5
        while (found := connections(process.pid)) > 82 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert found <= 82
    finally:
        for client in silent:
            client.close()


def connections(pid):
    """Sockets that a process has open."""
    links = (os.path.join(f"/proc/{pid}/fd", name) for name in os.listdir(f"/proc/{pid}/fd"))
    return sum(os.path.islink(link) and os.readlink(link).startswith("socket:") for link in links)


# Who may ask


def test_hosts_and_origins(server):
    _, port = server
    body = one_row()
    for host in ("evil.example", "127.0.0.1.evil.example", "[::1", "a b", ""):
        found = raw(
            port, f"GET /v1/models/styled HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        assert error_of(found)[0] in (400, 421), host
    for host in (
        "localhost",
        f"LOCALHOST:{port}",
        "192.168.1.7:99",
        "[::1]:80",
        "pictures.example",
        "demo:8501",
    ):
        assert ask(port, "GET", "/v1/models/styled", headers={"Host": host})[0] == 200, host
    for origin in ("http://evil.example", "null", "http://localhost:3001", "https://localhost:3000"):
        headers = {"Origin": origin, "Content-Type": "text/plain"}
        assert ask(port, "POST", PREDICT, body, headers)[0] == 403, origin
    assert ask(port, "POST", PREDICT, body, {"Origin": f"http://127.0.0.1:{port}"})[0] == 200


def test_pages_of_listed_origins_may_ask(server):
    connection = http.client.HTTPConnection("127.0.0.1", server[1], timeout=60)
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,authorization",
    }
    connection.request("OPTIONS", PREDICT, headers={"Origin": ORIGIN, **asked})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200 and answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
    for body, status in ((one_row(), 200), (b"{", 400)):
        connection.request("POST", PREDICT, body, {"Origin": ORIGIN})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status and answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    connection.request("OPTIONS", PREDICT, headers={"Origin": "http://evil.example", **asked})
    answer = connection.getresponse()
    assert answer.status == 403 and "--allow_origin" in json.loads(answer.read())["error"]


# The end


def test_drain_time_is_kept_and_every_request_is_logged(server):
    """The last test of the server: it ends it."""
    process, port = server
    label, _ = exports.layouts(1)
    body = png_request(*[png_row(exports.png(label[0]), seed) for seed in range(100)])
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(port, "POST", PREDICT, body))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(30)
    assert time.monotonic() - start < 2.5 and code == 0
    for thread in threads:
        thread.join()
    cut = [answer for status, answer in answers if status == 503]
    assert len(answers) == 20 and cut and all("the server ends" in answer["error"] for answer in cut)
    log = process.stderr.read()
    assert "Traceback" not in log
    assert re.search(rf"127.0.0.1 POST {PREDICT} 200 \d+ B \d+ ms\n", log)
    assert re.search(rf"127.0.0.1 POST {PREDICT} 503 \d+ B \d+ ms\n", log)
