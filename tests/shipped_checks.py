"""What the tests of several shipped runs look at."""

import numpy as np

from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.evaluation.judge import load_judge
from semantic_synthesis.evaluation.segmentation import Confusion, score_batch


def judged(run):
    """{"real", "made": the judge's mIoU} of 12 held-out scenes and of a run's pictures of their layouts."""
    judge, found = load_judge(), {}
    scenes = [render_scene(seed, *run.size) for seed in range(1_000_300, 1_000_312)]
    labels = np.stack([scene.label for scene in scenes]).astype(np.int32)
    layout = run.layout(labels, np.stack([scene.instance for scene in scenes]).astype(np.int32))
    pictures = {
        "real": np.stack([scene.image for scene in scenes]),
        "made": run.synthesize(layout, run.sample_style(list(range(12)), layout)),
    }
    for name, images in pictures.items():
        confusion = Confusion(run.table.num_classes)
        score_batch(confusion, judge, images, labels)
        found[name] = confusion.mean_iou
    return found


def right_looks(run):
    """(how many, of how many) pictures in the style of one look of a scene have colours nearer to that look than to the
    scene's others."""
    right = total = 0
    for seed in range(1_000_200, 1_000_206):
        scenes = {look: render_scene(seed, *run.size, look=look) for look in ("day", "sunset", "night")}
        layout = run.layout(scenes["day"].label, scenes["day"].instance)
        for look, scene in scenes.items():
            picture = run.synthesize(layout, run.encode_style(scene.image, layout))[0].astype(float)
            distances = {other: np.abs(picture - s.image).mean() for other, s in scenes.items()}
            right += min(distances, key=distances.get) == look
            total += 1
    return right, total
