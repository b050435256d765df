"""Makes the method of another package (tests/plugins) known to every test, as if it had been installed."""

import gc
import os
import signal
import sys
from pathlib import Path

PLUGINS = str(Path(__file__).parent / "plugins")
sys.path.insert(0, PLUGINS)
# For the processes that tests start: scripts and workers.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [PLUGINS, os.environ.get("PYTHONPATH", "")]))
# A shell lets what it starts in the background ignore Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# On a GPU products in TF32 would be too coarse for the comparisons with the originals.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def pytest_collection_finish():
    """What is imported stays: not looked through again by every collection of the graphs that tests leave behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
