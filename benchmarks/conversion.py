"""Time and memory of converting a full-width SPADE generator (ADE20K, 96.5 million parameters).

    python benchmarks/conversion.py [--keep FOLDER]

Random numbers stand in for trained weights; time and memory do not depend on them. The file is made
first, in a process of its own; then `convert` runs in a fresh process, imports included. Needs
PyTorch.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

_MAKE = """
import sys
sys.path.insert(0, {tests!r})
import torch
from reference_spade import generator_shapes
shapes = generator_shapes(64, 151)
state = {{name: torch.rand(shape) if shape else torch.tensor(1) for name, shape in shapes.items()}}
trained = ("weight", "bias", "weight_orig")
trained = sum(tensor.numel() for name, tensor in state.items() if name.endswith(trained))
print(f"{{trained:,}} parameters")
torch.save(state, {path!r})
"""

_CONVERT = """
from semantic_synthesis.convert import ConvertOptions, convert
convert(ConvertOptions(source={source!r}, dataset_mode="ade20k", checkpoint_dir={run!r}))
"""


def main():
    """Prints one line for the file and one for the conversion."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--keep", help="folder for the file and the run, which are kept; default: a temporary one"
    )
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        source, run = str(folder / "latest_net_G.pth"), str(folder / "spade_ade20k")
        _python(_MAKE.format(tests=str(REPOSITORY / "tests"), path=source))
        print(f"source: {os.path.getsize(source) / 1e6:.0f} MB")
        before, start = _peak(), time.monotonic()
        _python(_CONVERT.format(source=source, run=run))
        seconds = time.monotonic() - start
        note = "" if _peak() > before else " or less (making the file took as much)"
        print(f"convert: {seconds:.1f} s, peak resident memory {_peak() / 1e9:.2f} GB{note}")


def _python(code):
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, stderr=subprocess.DEVNULL)


def _peak():
    """Largest resident set of the subprocesses so far, in bytes (Linux counts in units of 1024)."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
