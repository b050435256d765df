"""Throughput and latency of the development server, and exported against in-process generator time.

python benchmarks/serving.py --checkpoint_dir checkpoints/demo_spade
python benchmarks/serving.py --export_dir exports --requests 1000 --clients 16     (an export made before)

Also printed: fairness (a small client's p99 beside the largest legal load of another, over its quiet p99) and the peak
memory of the worst legal request in multiples of that of a single row. All figures are of the machine at hand; the
server's are of `serve`, not of TF Serving.
"""

import argparse
import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tensorflow as tf
from measuring import interleaved_medians
from serving_limits import print_fairness, print_memory

from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.inference import load_run
from semantic_synthesis.serving.export import ExportOptions, export
from semantic_synthesis.serving.files import models
from semantic_synthesis.serving.server import ServeOptions

LAYOUTS = 8
BAD_EVERY = 12  # every 12th request of a client comes after a bad one


def generator_times(run_dir, folder, runs):
    """Prints medians of one picture per call, in turns: in this process, and through the export."""
    run = load_run(run_dir)
    height, width = run.size
    labels = [render_scene(seed, height, width).label for seed in range(LAYOUTS)]
    served = tf.saved_model.load(folder).signatures["serving_default"]
    turn = {"in process": 0, "exported": 0}

    def label(name):
        turn[name] += 1
        return labels[turn[name] % LAYOUTS]

    def in_process():
        run._plans.clear()  # both sides plan every layout
        return run.synthesize(run.layout(label("in process")), run.sample_style([0]))

    def exported():
        maps = tf.constant(label("exported")[None], tf.uint8)
        return served(label=maps, seed=tf.constant([0], tf.int64))["image"].numpy()

    for _ in range(LAYOUTS):  # whatever is traced per layout is traced before the clock starts
        in_process(), exported()
    times = interleaved_medians({"in process": in_process, "exported": exported}, runs)
    same = np.abs(in_process().astype(int) - exported()).max()
    for name, seconds in times.items():
        print(f"{name:12} {1000 * seconds:8.1f} ms per picture of {width}x{height}, median of {runs}")
    ratio = times["exported"] / times["in process"]
    print(f"exported / in process {ratio:.3f}; largest pixel difference {same}/255")


class Client(threading.Thread):
    """Posts PNG requests one after another and compares every answer with the expected picture."""

    def __init__(self, number, port, path, jobs, expected):
        super().__init__()
        self.number = number
        self.address, self.path, self.jobs, self.expected = ("127.0.0.1", port), path, jobs, expected
        self.seconds, self.wrong, self.refused = [], 0, 0

    def run(self):
        connection = http.client.HTTPConnection(*self.address, timeout=600)
        for number, (key, body) in enumerate(self.jobs):
            if number % BAD_EVERY == BAD_EVERY - 1:
                self._disturb(number)
            start = time.perf_counter()
            connection.request("POST", self.path, body)
            answer = connection.getresponse()
            content = answer.read()
            self.seconds.append(time.perf_counter() - start)
            if answer.status != 200:
                self.wrong += 1
                continue
            picture = base64.b64decode(json.loads(content)["predictions"][0]["b64"])
            self.wrong += picture != self.expected[key]

    def _disturb(self, number):
        """One bad request on a connection of its own: it must be refused, or cut in the middle."""
        kind = (number // BAD_EVERY + self.number) % 4
        if kind == 3:
            with socket.create_connection(self.address) as cut:
                cut.sendall(
                    f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nabc".encode()
                )
            self.refused += 1
            return
        bodies = [predict_body(b"not a picture", 0), b"{", predict_body(png_bytes(np.full((8, 8), 250)), 0)]
        connection = http.client.HTTPConnection(*self.address, timeout=600)
        connection.request("POST", self.path, bodies[kind])
        answer = connection.getresponse()
        answer.read()
        self.refused += answer.status == 400
        connection.close()


def predict_body(png, seed):
    row = {"label_png_bytes": {"b64": base64.b64encode(png).decode()}, "seed": seed}
    return json.dumps({"signature_name": "png", "instances": [row]}).encode()


def png_bytes(label):
    return tf.io.encode_png(np.asarray(label, np.uint8)[..., None]).numpy()


def start_server(export_dir, *flags):
    """(process, port) of a development server on a free loopback port."""
    command = [sys.executable, "-m", "semantic_synthesis", "serve", f"--export_dir={export_dir}"]
    process = subprocess.Popen(
        [*command, "--rest_api_port=0", "--norequest_log", *flags],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    line = process.stdout.readline()
    return process, int(line.split("://127.0.0.1:")[1].split("/")[0])


def server_load(export_dir, name, requests, clients):
    """Prints throughput and latency percentiles; True if every answer was the right one."""
    version = models(export_dir)[name][-1]
    function = tf.saved_model.load(f"{export_dir}/{name}/{version}").signatures["png"]
    size = picture_size(f"{export_dir}/{name}/{version}")
    jobs, expected = {}, {}
    for i in range(4 * LAYOUTS):
        png = png_bytes(render_scene(i % LAYOUTS, *size).label)
        out = function(label_png_bytes=tf.constant([png]), seed=tf.constant([i], tf.int64))
        jobs[i], expected[i] = predict_body(png, i), out["image_png_bytes"].numpy()[0]
    order = [(i % len(jobs), jobs[i % len(jobs)]) for i in range(requests)]
    process, port = start_server(export_dir)
    try:
        path = f"/v1/models/{name}:predict"
        Client(0, port, path, order[:2], expected).run()  # the first requests optimise the graph
        threads = [Client(i, port, path, order[i::clients], expected) for i in range(clients)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - start
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
    seconds = np.array([s for thread in threads for s in thread.seconds])
    wrong, refused = (sum(getattr(t, what) for t in threads) for what in ("wrong", "refused"))
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
    print(f"{len(seconds)} requests, {size[1]}x{size[0]} pixels, {clients} clients, {os.cpu_count()} cores")
    print(
        f"{wall:.1f} s, {len(seconds) / wall:.2f} pictures/s; latency p50 {p50:.3f}, p95 {p95:.3f}, p99 {p99:.3f} s"
    )
    print(f"lost or wrong answers {wrong + requests - len(seconds)}; bad requests refused or cut {refused}")
    print(f"server's exit code after SIGTERM: {code}")
    return wrong == 0 and len(seconds) == requests and code == 0


def limits(export_dir, name, count):
    """Prints fairness and memory of a server of its own."""
    size = picture_size(f"{export_dir}/{name}/{models(export_dir)[name][-1]}")
    png = base64.b64encode(png_bytes(render_scene(0, *size).label)).decode()
    row, path, defaults = (
        {"label_png_bytes": {"b64": png}, "seed": 0},
        f"/v1/models/{name}:predict",
        ServeOptions(),
    )
    process, port = start_server(export_dir, "--drain_s=1")  # the large load need not be finished
    try:
        print_memory(process.pid, port, path, row, size, defaults.max_rows, int(defaults.max_body_mb * 1e6))
        print_fairness(port, path, row, defaults.max_rows, count, defaults.max_queue)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def picture_size(folder):
    """(height, width) of the model's own warm-up picture."""
    from semantic_synthesis.serving.files import WARMUP_FILE

    path = f"{folder}/assets.extra/{WARMUP_FILE}"
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        at = record.find(b"\x89PNG")
        if at >= 0:
            return tuple(tf.io.decode_png(record[at:]).shape[:2])
    raise ValueError(f"{path}: no warm-up request with a PNG")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint_dir", default="checkpoints/demo_spade")
    parser.add_argument("--export_dir", default="", help="exports made before; empty: export now")
    parser.add_argument("--model_name", default="")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--small_requests", type=int, default=200, help="of the small client, for fairness")
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        export_dir = options.export_dir or temporary
        if not options.export_dir:
            path = export(ExportOptions(options.checkpoint_dir, export_dir, options.model_name))
            generator_times(options.checkpoint_dir, path, options.runs)
        name = options.model_name or next(iter(models(export_dir)))
        right = server_load(export_dir, name, options.requests, options.clients)
        limits(export_dir, name, options.small_requests)
        return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
