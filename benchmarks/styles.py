"""Does the style photo decide the look? python benchmarks/styles.py [--checkpoint_dir RUN]

20 held-out layouts, each in the styles of the day, sunset and night demo photos. For sky and
ground the mean colour of the synthesised region is compared with the same layout rendered in each look;
"right" counts layouts whose synthesised colour is nearest to the look that was asked for.
"""

import argparse
from pathlib import Path

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.data.scenes import CLASSES, render_scene
from semantic_synthesis.demo import demo_photos
from semantic_synthesis.inference import load_run

ROOT = Path(__file__).resolve().parent.parent
LOOKS = ("day", "sunset", "night")
REGIONS = {"sky": ("sky",), "ground": ("grass", "sand", "field", "road", "forest")}
HELD_OUT = 1_000_100  # apart from the training scenes and from the demo layouts


def region_colors(image, label):
    """{region: mean RGB float [3]} of one uint8 picture; regions the layout lacks are left out."""
    masks = {name: np.isin(label, [CLASSES.index(c) for c in members]) for name, members in REGIONS.items()}
    return {name: image[mask].mean(0) for name, mask in masks.items() if mask.sum() > 50}


def follow_styles(run, count=20):
    """{look: {region: [(synthesised RGB, {look: rendered RGB})]}} over held-out layouts."""
    found = {look: {region: [] for region in REGIONS} for look in LOOKS}
    photos = demo_photos()
    styles = {look: run.encode_style(data.read_image(photos[look][0])) for look in LOOKS}
    for seed in range(HELD_OUT, HELD_OUT + count):
        scenes = {look: render_scene(seed, *run.size, look=look) for look in LOOKS}
        label = scenes["day"].label
        rendered = {look: region_colors(scene.image, label) for look, scene in scenes.items()}
        layout = run.layout(label)
        for look, style in styles.items():
            for region, color in region_colors(run.synthesize(layout, style)[0], label).items():
                truths = {other: rendered[other][region] for other in LOOKS}
                found[look][region].append((color, truths))
    return found


def nearest(color, truths):
    """The look whose rendered colour is nearest in RGB."""
    return min(truths, key=lambda look: np.linalg.norm(color - truths[look]))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint_dir", default=str(ROOT / "checkpoints" / "demo_spade"))
    found = follow_styles(load_run(parser.parse_args().checkpoint_dir))
    print("| style | region | synthesised mean RGB | rendered mean RGB | right |")
    print("|---|---|---|---|---|")
    for look, regions in found.items():
        for region, rows in regions.items():
            ours = np.mean([color for color, _ in rows], 0).round().astype(int)
            truth = np.mean([truths[look] for _, truths in rows], 0).round().astype(int)
            right = sum(nearest(color, truths) == look for color, truths in rows)
            print(f"| {look} | {region} | {ours.tolist()} | {truth.tolist()} | {right} of {len(rows)} |")


if __name__ == "__main__":
    main()
