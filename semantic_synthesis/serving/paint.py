"""python -m semantic_synthesis paint: a page in the browser where a label map becomes a picture under the pen.

The server is `serve`'s, with the page's files and a few routes in front (`page_routes`), and runs instead of exports
(`live_run`). The page asks for pictures over TF Serving's protocol, as any other client would.
"""

import ipaddress
import sys
import threading
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from semantic_synthesis.options import Command, option
from semantic_synthesis.pictures import png_bytes
from semantic_synthesis.serving.access import Access
from semantic_synthesis.serving.live_run import LiveRun, name_of
from semantic_synthesis.serving.server import ServeOptions, check, listen, need_uvicorn, run_server
from semantic_synthesis.serving.service import Service

DEMOS = tuple(
    f"demo_{name}" for name in ("spade", "clade", "inade", "clvae", "scgan", "oasis")
)  # opened when chosen
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class PaintOptions:
    """Options of `python -m semantic_synthesis paint`."""

    checkpoint_dir: tuple = option(
        (), f"Run folder, or the name of a shipped run; may be repeated. Without it: {', '.join(DEMOS)}."
    )
    precision: str = option("float32", "Arithmetic of the network.", choices=("float32", "bfloat16"))
    host: str = option("127.0.0.1", "Address to listen on; the default is reachable from this machine only.")
    rest_api_port: int = option(
        8510, "Port; 0 takes a free one. Browsers keep unsaved paintings by address and port."
    )
    allow_host: tuple = option(
        (),
        "Name or address under which browsers reach the page, needed with another --host than the default.",
    )
    open_browser: bool = option(True, "Open the page in the browser.")
    num_threads: int = option(2, "Requests computed at the same time.")
    request_log: bool = option(False, "One line to standard error for each request.")


class PageAccess(Access):
    """As `Access`, but hosts are exactly those of a list, and other sites may not even load what the page loads."""

    def _known(self, host):
        return _bare(host) in self.hosts

    def refusal(self, scope: Mapping[str, Any]) -> tuple[int, str] | None:
        """Of Host, Origin and Sec-Fetch-Site."""
        refused = super().refusal(scope)
        sent = {key: value.decode("latin-1") for key, value in scope["headers"]}
        if refused or sent.get(b"sec-fetch-site", "none") in ("none", "same-origin"):
            return refused
        opened = scope["method"] == "GET" and sent.get(b"sec-fetch-mode") == "navigate"
        if opened and sent.get(b"sec-fetch-dest") == "document" and scope["path"] == "/":
            return None  # somebody follows a link to the page
        return 403, "other sites may not use this page's server"


def _bare(host):
    """A Host header's name in lower case, without port, brackets and the dot at the end."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def page_access(options: PaintOptions, served: ServeOptions) -> PageAccess:
    """PageAccess for PaintOptions. ValueError where others could reach the page and nobody said under which name."""
    local = options.host == "localhost" or _is_loopback(options.host)
    if not local and not options.allow_host:
        raise ValueError(
            f"--host {options.host}: other machines reach the page then; say under which names or addresses with "
            "--allow_host"
        )
    access = PageAccess(served)
    access.hosts = {_bare(name) for name in (*_LOOPBACK, *options.allow_host)}
    access.hosts |= {options.host.lower()} if local else set()
    return access


def _is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def named_runs(options: PaintOptions) -> dict[str, LiveRun]:
    """{model name: LiveRun}, not loaded yet. ValueError or OSError, one line, for folders that are no runs."""
    found = {}
    for run_dir in options.checkpoint_dir or DEMOS:
        name = start = name_of(run_dir)
        number = 2
        while name in found:
            name, number = f"{start}-{number}", number + 1
        found[name] = LiveRun(name, run_dir, options.precision, most_rows=64)
    return found


def paint(options: PaintOptions) -> int:
    """Serves the page until SIGTERM or SIGINT; the exit code. options: PaintOptions.

    Errors: ValueError or OSError, one line, before it listens.
    """
    need_uvicorn("paint")
    from semantic_synthesis.serving.page_routes import add_page

    served = ServeOptions(
        host=options.host,
        rest_api_port=options.rest_api_port,
        num_threads=options.num_threads,
        request_log=options.request_log,
        api_token="",
        drain_s=5.0,
    )
    check(served)
    access = page_access(options, served)
    access.token = b""  # of the environment, for `serve`
    runs = named_runs(options)
    listening = listen(served)
    first = next(iter(runs.values()))
    first.open()
    service = Service(served, runs)

    def announce(address):
        print(f"paint at {address}/ (Ctrl-C ends it)", flush=True)
        threading.Thread(target=_warm, args=(first,), daemon=True).start()
        if options.open_browser:
            threading.Thread(target=_open, args=(f"{address}/",), daemon=True).start()

    return run_server(served, listening, service, access, announce, lambda app: add_page(app, service, runs))


def _warm(run):
    """The first trace and call, while the browser still opens the page."""
    try:
        row = {"label_png_bytes": png_bytes(np.full(run.graph.native, run.graph.table.raw_ids[0], np.uint16))}
        if run.graph.takes_instances:
            row["instance_png_bytes"] = png_bytes(np.zeros(run.graph.native, np.uint16))
        run.function("png")(
            **{name: tf.constant([png]) for name, png in row.items()}, seed=tf.constant([0], tf.int64)
        )
    except Exception as error:  # the page's own request says it again
        sys.stderr.write(f"{run.name}: {error}\n")


def _open(address):
    try:
        webbrowser.open(address)
    except webbrowser.Error:
        return


COMMAND = Command(PaintOptions, paint, "paint --checkpoint_dir checkpoints/mine --checkpoint_dir demo_spade")
