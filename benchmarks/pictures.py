"""Checksums of the shipped runs' pictures: did a change move a pixel?

python benchmarks/pictures.py hashes.json             # write them
python benchmarks/pictures.py --against hashes.json   # compare; exit code 1 if one differs
Every demo layout of SPADE and INADE in random, photo and edited styles, float32 and bfloat16. Processors differ in the
last bit of their sums: compare on one machine.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.demo import demo_layouts, demo_photos
from semantic_synthesis.inference import load_run
from semantic_synthesis.restyling import apply_edits, parse_edit

PHOTOS = {look: photo for look, (photo, _) in demo_photos().items()}
EDITS = ("class:sky=seed:7", "all=seed:9@0.5", f"class:sky={PHOTOS['night']}")


def pictures(run, label_path, instance_path):
    """(what, uint8 [N,h,w,3]) of one layout."""
    label, instance = data.read_layout(label_path, run.table, instance_path)
    layout = run.layout(label, instance)
    yield "random", run.synthesize(layout, run.sample_style([0, 1, 7], layout))
    for look, photo in PHOTOS.items():
        yield look, run.synthesize(layout, run.encode_style(data.read_image(photo), layout, 3))
    if any(spec.is_local for spec in run.style_specs.values()):
        for edit in EDITS:
            style = apply_edits(run, [parse_edit(edit)], label, instance, run.sample_style([5], layout))
            yield edit.replace(str(PHOTOS["night"].parent), ""), run.synthesize(layout, style)


def checksums():
    """{run/precision/layout/what/number: SHA-256 of the pixels}."""
    found = {}
    for name in ("demo_spade", "demo_inade"):
        for precision in ("float32", "bfloat16"):
            run = load_run(name, precision)
            for layout, files in demo_layouts(run.size).items():
                for what, made in pictures(run, *files):
                    for i, picture in enumerate(made):
                        digest = hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
                        found[f"{name}/{precision}/{layout}/{what}/{i}"] = digest
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", help="JSON file to write")
    parser.add_argument("--against", help="JSON file to compare with")
    options = parser.parse_args()
    found = checksums()
    if options.out:
        Path(options.out).write_text(json.dumps(found, indent=0) + "\n")
    print(f"{len(found)} pictures")
    if options.against:
        before = json.loads(Path(options.against).read_text())
        changed = [key for key in found if before.get(key) != found[key]]
        print(f"{len(changed)} differ: {', '.join(changed[:5])}" if changed else "all equal")
        sys.exit(bool(changed))


if __name__ == "__main__":
    main()
