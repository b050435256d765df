"""What a SIMS run does on held-out scenes before its synthesis network paints: canvas, order, transformation.

python benchmarks/sims_scenes.py --run RUN [--count 100] [--seed 0]
Prints three tables, over the scenes 1,000,000, 1,000,001, ... which no run trained on and no memory holds.

Canvas, shares of all pixels of all canvases in the style of the seed (0: the best candidates):
  memory: a segment of the memory lies on top and shows its colour;
  unchanged: of all pixels, those equal in all three bytes to the pixel of the segment's photo that its warp points at
  (with --round_theta warps are moves by whole pixels; else pixels between others count where they interpolate alike);
  rim: white, given to the network; empty: black, no candidate or cleared ground.
Order, over neighbours as training pairs them by the scenes' exact depth: how often the network's verdict, as
composition reads it, names the one in front, and how often the order of classes alone does. What stands on the ground
is in front of it by rule, whatever the depth; "free" are the pairs without these, and "against the classes" those of
them whose depth contradicts the order of classes.
Transformation, over segments disturbed as in training: IoU with their place, untouched, moved by the network's
theta, and moved by whole pixels (--round_theta).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tensorflow as tf

from semantic_synthesis import data
from semantic_synthesis.data.pipeline import HELD_OUT_SEED
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.evaluation.tables import table
from semantic_synthesis.inference import load_run
from semantic_synthesis.methods.sims import ordering
from semantic_synthesis.methods.sims.close_up import whole_pixels
from semantic_synthesis.methods.sims.composing import DARKEST
from semantic_synthesis.methods.sims.practice import Practice
from semantic_synthesis.methods.sims.simulation import moved_masks
from semantic_synthesis.methods.sims.warping import warp


def scene_batch(row, size):
    """A training batch of one held-out scene."""
    scene = render_scene(HELD_OUT_SEED + row, *size)
    maps = {"label": scene.label, "instance": data.regions(scene.label), "disparity": scene.disparity}
    batch = {name: tf.constant(values[None].astype(np.int32)) for name, values in maps.items()}
    image = tf.constant(scene.image[None] / np.float32(127.5) - 1)
    return batch | {"image": image, "row": tf.constant([row], tf.int64)}


# Canvas


def canvas_pixels(run, batch, seed):
    """{column: pixels} of the canvas of one layout."""
    layout = run.layout(batch["label"].numpy(), batch["instance"].numpy())
    plan = run.method.plan({name: tf.constant(values) for name, values in layout.items()})
    canvas, placed = run.method.placed(plan, run.sample_style([seed], layout))
    picture, owner = as_bytes(canvas.picture[0]), canvas.owner[0].numpy()
    unchanged = np.zeros(owner.shape, bool)
    bank = run.method.bank
    for segment in np.unique(owner[owner >= 0]):
        row = placed.row[0, segment]
        sources = sources_of(bank.picture(bank["photo"][row]), placed.theta[0, segment])
        unchanged |= (owner == segment) & equal_to_one(picture, sources, owner == segment)
    return kinds_of_pixels(picture, owner, unchanged)


def sources_of(photo, theta):
    """The photo as bytes, where it was and moved: a canvas takes whichever covers the place better."""
    lit = tf.maximum(photo, DARKEST)
    return [as_bytes(lit), as_bytes(warp(lit[None], theta[None])[0])]


def as_bytes(picture):
    """uint8 of float32 in [0,1]."""
    return np.round(255 * np.asarray(picture)).astype(np.uint8)


def equal_to_one(picture, sources, there):
    """bool [H,W]: pixels equal to the source that most of those there are equal to."""
    equal = [(picture == source).all(-1) for source in sources]
    return max(equal, key=lambda same: (same & there).sum())


def kinds_of_pixels(picture, owner, unchanged):
    """{column: pixels}: uint8 [H,W,3], int [H,W] with -1 for no owner, bool [H,W]."""
    rim, empty = (picture == 255).all(-1) & ~unchanged, (picture == 0).all(-1)
    memory = (owner >= 0) & ~rim & ~empty
    shares = {"memory": memory, "unchanged": memory & unchanged, "rim": rim, "empty": empty}
    return {name: int(which.sum()) for name, which in shares.items()}


# Order


def order_verdicts(method, batch):
    """Neighbours of a scene whose depths are known: bool columns, each whether the second one is in front."""
    composer, groups = method.composer, method.groups
    kind, segments = composer.segments({name: batch[name] for name in ("label", "instance")})
    found = ordering.pairs(segments, composer.large(segments), groups.rank)
    step = method.config.scale
    medians = ordering.depths(segments, found, tf.cast(batch["disparity"][:, ::step, ::step], tf.float32))
    kinds = tf.gather(segments.kind, found)
    front, known, rule = ordering.front_class(kinds, medians, groups)
    logits = method.order(composer.order_input(kind, segments, found))
    columns = {
        "network": ordering.verdicts(logits, kinds) > 0,
        "depth": medians[:, 0] <= medians[:, 1],
        "asked": front == kinds[:, 1],
        "rule": rule,
    }
    return {name: values.numpy()[known.numpy()] for name, values in columns.items()}


def order_row(found):
    """Accuracies from the columns of `order_verdicts` of all scenes."""
    network, asked, free = found["network"], found["asked"], ~found["rule"]
    against = free & ~found["depth"]
    return {
        "pairs": len(network),
        "network": float((network == asked).mean()),
        "classes": float(asked.mean()),
        "free pairs": int(free.sum()),
        "network, free": float((network == found["depth"])[free].mean()),
        "classes, free": float(found["depth"][free].mean()),
        "against the classes": int(against.sum()),
        "network among these": float((~network)[against].mean()),
    }


# Transformation


def overlaps(practice, network, batch):
    """{column: float [R]} of the disturbed segments of a scene."""
    composer = practice.composer
    kind, segments = composer.segments({name: batch[name] for name in ("label", "instance")})
    picture, moved, place, _ = practice.disturbed(batch, kind, segments)
    there = tf.reduce_any(place, [1, 2])
    picture, moved, place = (tf.boolean_mask(x, there) for x in (picture, moved, place))
    kinds = tf.repeat(kind, tf.shape(place)[0], axis=0)
    theta = network(composer.transformation_input(picture, place, kinds))
    ways = {
        "untouched": moved,
        "moved": moved_masks(moved, theta),
        "by whole pixels": moved_masks(
            moved, whole_pixels(theta, place, composer.config.transformation_view)
        ),
    }
    return {name: iou(masks.numpy(), place.numpy()) for name, masks in ways.items()}


def iou(one, other):
    """float [R] of bool [R,H,W]."""
    return (one & other).sum((1, 2)) / np.maximum((one | other).sum((1, 2)), 1)


def overlap_row(found):
    """Means of the columns of `overlaps`, and how many segments gain."""
    row = {"segments": len(found["untouched"])} | {
        name: float(values.mean()) for name, values in found.items()
    }
    return row | {"nearer than untouched": float((found["moved"] > found["untouched"]).mean())}


def joined(parts):
    """Columns of several scenes in one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="run folder or name of a shipped run")
    parser.add_argument("--count", type=int, default=100, help="held-out layouts")
    parser.add_argument("--seed", type=int, default=0, help="style of the canvases")
    options = parser.parse_args()
    run = load_run(options.run)
    method, practice = run.method, Practice(run.config, run.method.composer)
    batches = [scene_batch(row, run.size) for row in range(options.count)]
    pixels = [canvas_pixels(run, batch, options.seed) for batch in batches]
    total = options.count * run.size[0] * run.size[1]
    print(
        table(
            [
                {"canvas": f"{options.count} layouts"}
                | {name: sum(part[name] for part in pixels) / total for name in pixels[0]}
            ]
        )
    )
    if method.order is not None:
        verdicts = joined([order_verdicts(method, batch) for batch in batches])
        print("\n" + table([{"order": "accuracy"} | order_row(verdicts)]))
    if method.transformation is not None:
        found = joined([overlaps(practice, method.transformation, batch) for batch in batches])
        print("\n" + table([{"transformation": "mean IoU"} | overlap_row(found)]))


if __name__ == "__main__":
    main()
