"""Sends made-up request bodies to a development server: every answer a 200 or a 4xx in JSON, memory flat.

    python benchmarks/campaigns/bodies.py --requests 1000000
    python benchmarks/campaigns/bodies.py --requests 20000 --seconds 120

Bodies are good requests of every signature with some of their values, texts or bytes changed, cut, doubled or packed.
The server is one of a tiny export on a free port of 127.0.0.1. Printed: answers by status, and the server's memory
after a twentieth of the requests and at the end. The exit code is 0 where all of it held.
"""

import argparse
import base64
import copy
import gzip
import http.client
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

import common

_GROWTH_MB = 150
_ODD = [
    None, True, False, 0, -1, 1, 255, 256, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "A" * 1000, "\ud800", "é", "0", "null", "=", "AAAA", [], {}, [[]], [None], [[], [1]], {"b64": ""},
    {"b64": 1}, {"b64": "!!!"}, {"b64": "AAAA", "x": 1}, [[[0]]], {"": {}}, "instances", ["b64"],
]  # fmt: skip
_BYTES = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b'"',
    b"\\u",
    b"1e999",
    b"NaN",
    b"-",
    b"\x89PNG",
    b"[" * 50,
)


def good_requests(size):
    """Requests as JSON values, of every signature of a SPADE with an encoder."""
    import numpy as np
    import tensorflow as tf

    label = np.zeros((size, size), int)
    label[size // 2 :] = 3
    png = tf.io.encode_png(label[..., None].astype(np.uint8)).numpy()
    photo = tf.io.encode_jpeg(np.full((size, size, 3), 90, np.uint8)).numpy()
    files = [{"b64": base64.b64encode(content).decode()} for content in (png, photo)]
    rows = label.tolist()
    picture = np.full((size, size, 3), 90).tolist()
    return [
        {"instances": [{"label": rows, "seed": 3}]},
        {"inputs": {"label": [rows, rows], "seed": [1, 2]}},
        {"signature_name": "png", "instances": [{"label_png_bytes": files[0], "seed": 1}] * 2},
        {"signature_name": "png", "inputs": {"label_png_bytes": files[:1], "seed": [1]}},
        {
            "signature_name": "png_style",
            "instances": [{"label_png_bytes": files[0], "style_image_bytes": files[1]}],
        },
        {"signature_name": "encode_style", "instances": [{"image": picture}]},
        {"signature_name": "sample_style", "instances": [{"label": rows, "seed": 3}]},
        {"signature_name": "synthesize_style", "instances": [{"label": rows, "z": [0.5] * 4}]},
    ]


def places(values, path=()):
    """Paths to all values inside JSON values; of long lists the first few."""
    yield path
    if isinstance(values, dict):
        for key, value in values.items():
            yield from places(value, (*path, key))
    elif isinstance(values, list):
        for index, value in enumerate(values[:3]):
            yield from places(value, (*path, index))


def changed_values(values, rng):
    """The values with one place changed."""
    values = copy.deepcopy(values)
    path = rng.choice(list(places(values)))
    if not path:
        return rng.choice(_ODD)
    inside = values
    for key in path[:-1]:
        inside = inside[key]
    key, how = path[-1], rng.randrange(5)
    if how == 0:
        del inside[key]
    elif how == 1 and isinstance(inside, list):
        inside.insert(key, copy.deepcopy(rng.choice([inside[key], *_ODD])))
    elif how == 2 and isinstance(inside, dict):
        inside[rng.choice(["x", "label", "seed", "z", "instances", "signature_name", key.upper()])] = inside[
            key
        ]
    elif how == 3 and isinstance(inside[key], str) and inside[key]:
        at = rng.randrange(len(inside[key]))
        inside[key] = inside[key][:at] + rng.choice(["", "A", "=", "\n", "/", "é"]) + inside[key][at + 1 :]
    else:
        inside[key] = copy.deepcopy(rng.choice(_ODD))
    return values


def changed_bytes(body, rng):
    """The bytes cut, doubled, or with some of them replaced."""
    at, end = sorted(rng.randrange(len(body) + 1) for _ in range(2))
    return rng.choice(
        [
            lambda: body[:at],
            lambda: body[at:],
            lambda: body[:at] + rng.choice(_BYTES) + body[end:],
            lambda: body[:at] + rng.randbytes(3) + body[at + 3 :],
            lambda: body + body,
            lambda: body[:at] + body[end:],
        ]
    )()


def made_up(good, rng):
    """(body, headers) of a request."""
    values = rng.choice(good)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        values = (
            changed_values(values, rng) if isinstance(values, (dict, list)) and values else rng.choice(_ODD)
        )
    body = json.dumps(values).encode("utf-8", "surrogatepass")
    if rng.random() < 0.4 and body:
        body = changed_bytes(body, rng)
    headers = {}
    if rng.random() < 0.1:
        packed = gzip.compress(body, 1)
        body = packed if rng.random() < 0.5 else changed_bytes(packed, rng)
        headers["Content-Encoding"] = rng.choice(["gzip", "gzip", "x-gzip", "br", "identity", "gzip, gzip"])
    if rng.random() < 0.2:
        headers["Content-Type"] = rng.choice(
            ["application/json", "text/plain", "", "application/json; charset=x", "a/b"]
        )
    return body, headers


class Client(threading.Thread):
    """Sends its share of the requests on one connection after another."""

    def __init__(self, port, path, good, count, end, seed):
        super().__init__()
        self.port, self.path, self.good, self.count, self.end = port, path, good, count, end
        self.rng, self.seen, self.faults = random.Random(seed), Counter(), []

    def _answered(self, connection, body, headers):
        """(connection, status, content). Servers close connections that were idle for long, as this client's are on a
        busy machine; such a request is sent once more, on a new one."""
        fresh = connection is None
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            return connection, answer.status, answer.read()
        except ConnectionError:
            if fresh:
                raise
        return self._answered(None, body, headers)

    def run(self):
        connection = None
        for _ in range(self.count):
            if time.monotonic() > self.end:
                break
            body, headers = made_up(self.good, self.rng)
            try:
                connection, status, content = self._answered(connection, body, headers)
            except (OSError, http.client.HTTPException) as error:
                self.seen["no answer"] += 1
                self.faults.append((repr(error), body[:300]))
                connection = None
                continue
            self.seen[status] += 1
            try:
                found = json.loads(content)
                right = ("error" in found) != (status == 200)
            except ValueError:
                right = False
            if not right or not (status == 200 or 400 <= status < 500):
                self.faults.append((status, content[:300], body[:300]))


def memory_mb(pid):
    """Resident memory of a process."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1e3


def main():
    """Starts the server, sends, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=7200)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        common.preload()
        common.make_run(f"{folder}/run")
        from semantic_synthesis.serving.export import ExportOptions, export

        export(ExportOptions(f"{folder}/run", f"{folder}/exports", "tiny"))
        command = [sys.executable, "-m", "semantic_synthesis", "serve", f"--export_dir={folder}/exports"]
        with open(f"{folder}/log.txt", "w") as log:
            process = subprocess.Popen(
                [*command, "--rest_api_port=0", "--norequest_log"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=common.REPOSITORY,
            )
        try:
            port = int(re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
            return campaign(options, process.pid, port, f"{folder}/log.txt")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


def campaign(options, pid, port, log):
    """The exit code."""
    good, path = good_requests(32), "/v1/models/tiny:predict"
    end, seen, faults, memory = time.monotonic() + options.seconds, Counter(), [], []
    for share, part in ((0.05, 0), (0.95, 1)):
        until = min(end, time.monotonic() + options.seconds * share) if not part else end
        count = max(1, int(options.requests * share / options.clients))
        clients = [
            Client(port, path, good, count, until, options.seed + i + 1000 * part)
            for i in range(options.clients)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
            seen += client.seen
            faults += client.faults
        memory.append(memory_mb(pid))
    with open(log) as file:
        text = file.read()
    print(f"{seen.total()} requests:", ", ".join(f"{count} {status}" for status, count in seen.most_common()))
    print(f"memory {memory[0]:.0f} MB after a twentieth, {memory[1]:.0f} MB at the end")
    print(f"{len(faults)} faults", *faults[:10], sep="\n  ")
    if "Traceback" in text:
        print(text[-3000:])
    return int(bool(faults) or "Traceback" in text or memory[1] - memory[0] > _GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
