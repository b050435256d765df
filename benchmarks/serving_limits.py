"""What one client's largest legal load costs another, and what the worst legal request costs in memory.

Used by benchmarks/serving.py; Linux.
"""

import base64
import contextlib
import http.client
import json
import threading
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

_ANOTHER_ADDRESS = "127.0.0.2"  # of the client with the large load: shares are by address


def request_seconds(port, path, bodies, address="127.0.0.1"):
    """(seconds of each request, statuses) of requests one after another on one connection."""
    seconds, statuses, connection = [], [], None
    for body in bodies:
        connection = connection or http.client.HTTPConnection(
            "127.0.0.1", port, timeout=600, source_address=(address, 0)
        )
        start = time.perf_counter()
        connection.request("POST", path, body)
        answer = connection.getresponse()
        answer.read()
        seconds.append(time.perf_counter() - start)
        statuses.append(answer.status)
    return seconds, statuses


def print_fairness(port, path, row, most_rows, count, connections):
    """Prints a small client's p99 alone, beside the largest legal load of another address, and their quotient.

    row: JSON values of an instance of the signature `png`; the load: `connections` requests of most_rows rows at once.
    """
    small, large = (
        json.dumps({"signature_name": "png", "instances": [row] * n}).encode() for n in (1, most_rows)
    )
    request_seconds(port, path, [small] * 3)
    quiet, _ = request_seconds(port, path, [small] * count)
    end, answered = threading.Event(), []

    def load():
        while not end.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):  # at the end the server leaves
                answered.extend(request_seconds(port, path, [large], _ANOTHER_ADDRESS)[1])

    for _ in range(connections):
        threading.Thread(target=load, daemon=True).start()
    time.sleep(1)
    beside, statuses = request_seconds(port, path, [small] * count)
    end.set()
    before, after = np.percentile(quiet, 99), np.percentile(beside, 99)
    refused = sum(status != 200 for status in statuses)
    rows = most_rows * answered.count(200)
    print(
        f"fairness: p99 of {count} single rows {before:.3f} s alone, {after:.3f} s beside {connections} requests of "
        f"{most_rows} rows at a time from another address, factor {after / before:.2f} (median "
        f"{np.median(beside) / np.median(quiet):.2f}); {refused} refused, {rows} rows of the other answered"
    )
    return after / before


def print_memory(pid, port, path, row, size, most_rows, most_bytes):
    """Prints the server's peak memory for the worst legal requests, in multiples of that for a single row."""
    one = json.dumps({"signature_name": "png", "instances": [row]}).encode()
    need = _peak_of(pid, port, path, one)[0]
    worst, name = 0, ""
    for what, body in _largest(row, size, most_rows, most_bytes).items():
        peak, status = _peak_of(pid, port, path, body)
        print(f"memory: {what} ({len(body) / 1e6:.1f} MB, answered {status}): {peak:.0f} MB")
        if peak > worst:
            worst, name = peak, what
    print(f"memory: one row {need:.0f} MB; worst {name} {worst:.0f} MB, {worst / need:.2f} times as much")
    return worst / need


def _largest(row, size, most_rows, most_bytes):
    """{what: body} of requests at the limits: of rows, of bytes, of pixels."""
    height, width = size
    label = np.random.default_rng(0).integers(0, 2, (height, width)).tolist()
    # 64 pictures' pixels in a file of few bytes: what an export unpacks at most.
    huge = tf.io.encode_png(np.zeros((8 * height, 8 * width, 1), np.uint8), compression=9).numpy()
    files = {**row, "label_png_bytes": {"b64": base64.b64encode(huge).decode()}}
    numbers = b"[" + b"0," * ((most_bytes - 100) // 2) + b"0]"
    return {
        f"{most_rows} rows of PNG": _body("png", [row] * most_rows),
        f"{most_rows} rows of numbers": _body("serving_default", [{"label": label, "seed": 0}] * most_rows),
        f"{most_rows} rows of the largest PNG": _body("png", [files] * most_rows),
        "the longest list of numbers": b'{"instances":[{"label":' + numbers + b',"seed":0}]}',
        "the longest text": b'{"instances":[{"label":"' + b"A" * (most_bytes - 100) + b'","seed":0}]}',
        "the deepest lists": b'{"instances":'
        + b"[" * (most_bytes // 2 - 50)
        + b"]" * (most_bytes // 2 - 50)
        + b"}",
        "the longest list, not closed": b'{"instances":' + b"[0," * (most_bytes // 3 - 50),
    }


def _body(signature, rows):
    return json.dumps({"signature_name": signature, "instances": rows}).encode()


def _peak_of(pid, port, path, body):
    """(peak resident memory in MB while a request is answered, status)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    _, (status,) = request_seconds(port, path, [body])
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1e3, status
