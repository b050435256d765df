"""Diversity of one class or region varied alone: known answers of a run that paints its style's numbers."""

import types

import numpy as np
import pytest
from helpers import random_arrays, shallow_networks, tiny_config

from semantic_synthesis import runs
from semantic_synthesis.evaluation import EvaluateOptions, evaluating
from semantic_synthesis.evaluation.evaluating import score
from semantic_synthesis.evaluation.judge import load_judge
from semantic_synthesis.evaluation.parts import SMALLEST, PartDiversity
from semantic_synthesis.styles import CLASS, LAYER, REGION, StyleSpec

SKY, TREE, DOT = 0, 1, 2
LEAK = 0.25  # of a part's numbers that its surroundings take


class Painter:
    """A run whose parts are painted in the numbers that seeds give, 10 times the seed; all else takes a share."""

    table = types.SimpleNamespace(num_classes=3)
    config = types.SimpleNamespace(method="painter")

    def __init__(self, kind):
        shapes = {CLASS: ((2, 3), (LAYER, CLASS)), REGION: ((None,), (REGION,)), "": ((1,), ("latent",))}
        self.kind, (shape, axes) = kind, shapes[kind]
        self.style_specs = {"numbers": StyleSpec(shape, axes)}

    def fit_map(self, values):
        return values

    def sample_style(self, seeds, layout):
        regions = int(layout["instance"].max()) + 1
        shape = [regions if size is None else size for size in self.style_specs["numbers"].shape]
        seeds = np.asarray(seeds, float).reshape([-1] + [1] * len(shape))
        return {"numbers": np.broadcast_to(10 * seeds, [len(seeds), *shape])}

    def synthesize(self, layout, style):
        numbers = np.asarray(style["numbers"])
        numbers = numbers.mean(1) if self.kind == CLASS else numbers  # [S, parts]
        rows = {CLASS: layout["label"], REGION: layout["instance"]}.get(self.kind, 0 * layout["label"])[0]
        pictures = numbers[:, rows] + LEAK * numbers.sum(1)[:, None, None]
        return np.repeat(pictures[..., None], 3, -1)


class Plain:
    """Compares pictures by the mean absolute difference of all pairs."""

    name, resize, sha256 = "plain", "none", "0"

    def __init__(self, *_):
        pass

    def field(self, samples):
        x = samples.astype(float).mean(-1)
        first, second = np.triu_indices(len(x), 1)
        return np.abs(x[first] - x[second]).mean(0)


def layout():
    """Two trees (regions 1 and 2) below a sky, and a class of fewer pixels than count."""
    label, region = np.full((2, 32, 32), SKY)
    region[:] = 0
    label[16:], region[16:], region[16:, 16:] = TREE, 1, 2
    label[0, : SMALLEST // 2 - 20], region[0, : SMALLEST // 2 - 20] = DOT, 3
    return {"label": label[None], "instance": region[None]}


def figures(kind, part, seeds=(9, 1, 2, 4)):
    """The values, and the number of parts, of one layout."""
    metric, run = PartDiversity(Plain(), part), Painter(kind)
    metric.check(run)
    metric.add_layout(run, layout(), np.array(seeds))
    found = metric.figures()
    return [figure["value"] for figure in found], found[0]["parts"]


# Seeds 1, 2, 4 differ by 2 on average, painted 20.


@pytest.mark.parametrize(("kind", "part", "parts"), [(CLASS, "class", 2), (REGION, "region", 3)])
def test_a_part_varies_by_its_own_and_others_by_their_share(kind, part, parts):
    values, count = figures(kind, part)
    np.testing.assert_allclose(values, [20 * (1 + LEAK), 20 * LEAK])
    assert count == parts


def test_all_regions_of_a_class_are_varied_together():
    """Both trees move, so that their surroundings take the share of two."""
    values, count = figures(REGION, "class")
    np.testing.assert_allclose(values, [20 * (1 + 1.5 * LEAK), 20 * 1.5 * LEAK])
    assert count == 2


def test_one_style_for_the_whole_picture_varies_everything_alike():
    values, _ = figures("", "class")
    np.testing.assert_allclose(values, [20 * (1 + LEAK)] * 2)


def test_the_mean_is_of_classes_not_of_layouts():
    metric, area = PartDiversity(Plain(), "class"), np.eye(2, dtype=bool)
    for class_id, inside, outside in ((SKY, 1, 0), (SKY, 3, 0), (SKY, 2, 0), (TREE, 10, 4)):
        metric.add_part(class_id, np.where(area, inside, outside), area)
    metric.add_part(TREE, np.full((2, 2), 10.0), np.ones((2, 2), bool))  # nothing is outside
    assert [figure["value"] for figure in metric.figures()] == [6, 2]


def test_the_judges_field_is_zero_where_pictures_agree():
    rng = np.random.default_rng(0)
    pictures = np.repeat(rng.integers(0, 256, (1, 128, 128, 3), np.uint8), 3, 0)
    judge = load_judge()
    assert judge.field(pictures).max() == 0
    pictures[1, :, :32] = 255
    field = judge.field(pictures)
    assert field.shape == (128, 128) and field[:, :16].mean() > 0.1 and field[:, 112:].max() == 0


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("run"))
    with shallow_networks():
        config = tiny_config(folder, method="inade", crop_size=16, no_instance=True)
        config.save(folder)
        runs.save_weights(folder, random_arrays(runs.build_method(config, training=False)))
    return folder


def test_a_run_is_scored_by_its_classes_and_regions(run_dir, monkeypatch):
    """Without instance maps its regions are the classes, so that both metrics make the same pictures."""
    monkeypatch.setattr(evaluating, "load_judge", Plain)
    names = "class_diversity,region_diversity"
    with shallow_networks():
        found = score(EvaluateOptions(checkpoint_dir=run_dir, max_images=3, metrics=names, num_samples=3))
        again = score(
            EvaluateOptions(
                checkpoint_dir=run_dir, max_images=3, metrics="class_diversity", num_samples=3, batch_size=1
            )
        )
    assert [figure["metric"] for figure in found] == [
        "class diversity (mCSD)",
        "diversity of other classes (mOCD)",
        "region diversity",
        "diversity of other regions",
    ]
    values = [figure["value"] for figure in found]
    np.testing.assert_allclose(values[:2], values[2:])
    np.testing.assert_allclose(values[:2], [figure["value"] for figure in again], rtol=1e-5)
    assert values[0] > 2 * values[1] > 0
    assert found[0]["images"] == 3 and found[0]["samples per part"] == 3


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"fake_dir": "f"}, "--metrics class_diversity: single classes or regions are varied by a run"),
        ({"checkpoint_dir": "demo_clvae", "eval_size": "8x8"}, "--eval_size 8x8: single classes and regions"),
        ({"checkpoint_dir": "demo_clvae", "num_samples": 1}, "--num_samples 1: .* needs at least 2"),
        ({"checkpoint_dir": "demo_clvae", "style": "real"}, "--style real: class_diversity compares random"),
    ],
)
def test_what_does_not_go_with_single_classes(asked, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a_0.png").write_bytes(b"")
    with pytest.raises(ValueError, match=f"^{text}"):
        score(EvaluateOptions(metrics="class_diversity", **asked))


def test_a_run_without_a_style_per_region_has_no_region_diversity():
    with pytest.raises(ValueError, match=r"this run .painter. has no style per region"):
        PartDiversity(Plain(), "region").check(Painter(CLASS))
