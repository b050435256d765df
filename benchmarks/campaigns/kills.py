"""Kills commands at random instants and looks at what is left: never a part, and in the end the same bits.

    python benchmarks/campaigns/kills.py --trials 100 --seconds 600
    python benchmarks/campaigns/kills.py --commands train,export --trials 20

A command is started, killed (SIGKILL, in every third trial SIGINT) at a random instant, and started again on what is
there, until one gets through; its result is compared with that of a calm run: trainings by all variables of the last
checkpoint, exports by their variables and assets, all else by every file. After every kill visible files must be whole.
The exit code is 0 where all of it held.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import common

_KILLS_OF_A_ROUND = 6  # then the command is left alone
_MANIFEST = "manifest.jsonl"
_OF_A_BUILD = (
    "fingerprint.pb",
    "saved_model.pb",
    "MODEL_CARD.md",
    "variables.index",
    "variables.data-00000-of-00001",
)  # hold names or times of their making


def states(out, command):
    """{name: checksum} of what a finished command left."""
    if command == "train":
        return arrays(Path(out) / "ckpt-12")
    found = common.tree(out, (*_OF_A_BUILD, _MANIFEST)) | manifest_lines(out)
    for index in Path(out).rglob("variables/variables.index"):
        prefix = index.relative_to(out)
        values = sorted(arrays(index.with_suffix("")).values())  # exports number their variables in any order
        found |= {f"{prefix} {number}": value for number, value in enumerate(values)}
    return found


def manifest_lines(out):
    """{line of manifest.jsonl for a file: what its last line says}; killed programs leave some twice."""
    found = {}
    for path in Path(out).rglob(_MANIFEST):
        for text in path.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            found[f"line of {line['file']}"] = json.dumps(line, sort_keys=True)
    return found


def arrays(prefix):
    """{name: checksum} of a checkpoint's variables; what TensorFlow says of their objects may differ."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    names = sorted(name for name in reader.get_variable_to_shape_map() if not name.startswith("_"))
    return {name: hash(reader.get_tensor(name).tobytes()) for name in names if "save_counter" not in name}


def wrong_files(out, command, calm):
    """Visible files that are none of a calm run's; trainings are judged by their ends."""
    if command == "train" or not os.path.isdir(out):
        return []
    if command in ("export", "convert"):  # a whole folder or none
        return sorted(set(calm) ^ set(states(out, command))) if common.tree(out) else []
    there = common.tree(out, (*_OF_A_BUILD, _MANIFEST)) | manifest_lines(out)
    return [name for name, digest in there.items() if calm.get(name) != digest]


def campaign(command, arguments, folder, trials, end, rng):
    """(kills made, list of faults)."""
    log, calm_out = f"{folder}/log.txt", f"{folder}/{command}-calm"
    begun = time.monotonic()
    code, text = common.finished(arguments(calm_out), log)
    whole = time.monotonic() - begun
    if code:
        return 0, [f"the calm run ended with {code}: {text[-2000:]}"]
    calm = states(calm_out, command)
    kills, faults, number = 0, [], 0
    while kills < trials and time.monotonic() < end:
        number += 1
        out, code = f"{folder}/{command}-{number}", None
        for attempt in range(_KILLS_OF_A_ROUND + 1):
            child = common.start(arguments(out), log)
            if attempt < _KILLS_OF_A_ROUND and kills < trials and time.monotonic() < end:
                time.sleep(rng.uniform(0, whole))
                os.kill(child, signal.SIGINT if kills % 3 == 2 else signal.SIGKILL)
                kills += 1
            code = common.end_of(child)
            faults += [f"round {number}: {fault}" for fault in faults_of(code, Path(log), out, command, calm)]
            if code == 0:
                break
        found = states(out, command) if code == 0 else {}
        if found != calm:
            changed = [name for name in calm if found.get(name) != calm[name]]
            faults.append(f"round {number}: {len(changed)} states differ, first {changed[:3]}")
        if parts := common.leftovers(out):
            faults.append(f"round {number}: left behind {parts[:3]}")
    return kills, faults


def faults_of(code, log, out, command, calm):
    """What is wrong with the end of one attempt."""
    text = log.read_text(errors="replace")
    if code not in (0, -signal.SIGKILL, 128 + signal.SIGINT):
        yield f"ended with {code}: {text[-1500:]}"
    elif "Traceback" in text:
        yield text[-1500:]
    if wrong := wrong_files(out, command, calm):
        yield f"parts or strangers: {wrong[:5]}"


def main():
    """Runs the campaigns and prints a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commands", default="train,generate,export,prepare,convert")
    parser.add_argument("--trials", type=int, default=100, help="kills of each command")
    parser.add_argument(
        "--seconds", type=float, default=3600, help="end after this time, shared by the commands"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    common.preload()
    names, failed = options.commands.split(","), False
    with tempfile.TemporaryDirectory() as folder:
        if not common.in_child(common.make_inputs, folder):
            return 1
        jobs, rng = common.jobs(folder), random.Random(options.seed)
        for name in names:
            end = time.monotonic() + options.seconds / len(names)
            kills, faults = campaign(name, jobs[name], folder, options.trials, end, rng)
            print(f"{name}: {kills} kills, {len(faults)} faults", *faults[:5], sep="\n  ", flush=True)
            failed |= bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
