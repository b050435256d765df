"""Lets the disk fill up at every write of every command: one line, exit code 2, nothing half-written, resumable.

    python benchmarks/campaigns/full_disk.py --step 16
    python benchmarks/campaigns/full_disk.py --commands prepare --step 64 --trials 10

Linux, as root: a tmpfs of a few kB more at each trial is mounted for the output, until a command gets through. Then its
result is compared with that of a calm run, and the last command that failed is repeated on the larger disk.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import common
from kills import states, wrong_files

_LOG_KB = 4096  # more than any command here writes


def resized(folder, kilobytes, how="remount,"):
    """Mounts a tmpfs of a size, or gives it another."""
    if not how:
        Path(folder).mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"{how}size={kilobytes}k", "tmpfs", folder]
    subprocess.run(command, check=True, capture_output=True)


def campaign(command, arguments, folder, options):
    """(trials, failures by a full disk, faults)."""
    log, calm_out, disk = f"{folder}/log.txt", f"{folder}/{command}-calm", f"{folder}/{command}-disk"
    code, text = common.finished(arguments(calm_out), log)
    if code:
        return 0, 0, [f"the calm run ended with {code}: {text[-1500:]}"]
    calm = states(calm_out, command)
    used = sum(path.stat().st_size for path in Path(calm_out).rglob("*") if path.is_file()) // 1024
    faults, failures, sizes = [], 0, list(range(4, options.most or 3 * used + 64, options.step))
    rng = random.Random(options.seed)
    if options.trials and len(sizes) > options.trials:
        sizes = sorted(rng.sample(sizes, options.trials))
    for trial, size in enumerate(sizes, 1):
        resized(disk, size, "")
        try:
            out = f"{disk}/out"
            code, text = common.finished(arguments(out), log)
            failures += code == 2
            lines = [line for line in text.splitlines() if line.startswith("error: ")]
            if code not in (0, 2) or "Traceback" in text or (code == 2 and len(lines) != 1):
                faults.append(f"{size} kB: ended with {code}: {text[-1200:]}")
            elif code == 2 and str(disk) not in lines[0]:
                faults.append(f"{size} kB: names no file: {lines[0]}")
            if wrong := wrong_files(out, command, calm):
                faults.append(f"{size} kB: parts or strangers: {wrong[:5]}")
            if parts := common.leftovers(out) if os.path.isdir(out) else []:
                faults.append(f"{size} kB: left behind {parts[:3]}")
            resized(disk, 3 * used + _LOG_KB)
            if code == 2:
                code, text = common.finished(arguments(out), log)
            if code or states(out, command) != calm:
                faults.append(f"{size} kB: with room again: code {code}, {text[-600:]}")
        finally:
            subprocess.run(["umount", disk], check=True)
        if not failures and trial > 3:
            faults.append("no disk was too small")
            break
    return len(sizes), failures, faults


def main():
    """Runs the campaigns and prints a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commands", default="train,generate,export,prepare,convert")
    parser.add_argument("--step", type=int, default=8, help="kB by which the disk grows")
    parser.add_argument(
        "--most", type=int, default=0, help="kB of the largest disk; 0: where every command gets through"
    )
    parser.add_argument("--trials", type=int, default=0, help="so many of the sizes, drawn at random; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    common.preload()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        if not common.in_child(common.make_inputs, folder):
            return 1
        jobs = common.jobs(folder)
        for name in options.commands.split(","):
            trials, failures, faults = campaign(name, jobs[name], folder, options)
            print(
                f"{name}: {trials} sizes, {failures} too small, {len(faults)} faults",
                *faults[:5],
                sep="\n  ",
                flush=True,
            )
            failed |= bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
