"""What every method must do, asked of each entry of METHODS: a new method passes by being listed.

The last entry comes from another package (tests/plugins/painter.py): no GAN, one objective, styles per class and layer.
Networks are tiny; those that take SPADE's layout of blocks have two instead of seven.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from conformance import (
    SIZE,
    arrays,
    exported,
    folder,
    layout_of,
    methods,
    networks,
    opened,
    run_dir,
    scene,
    slow_for,
)
from helpers import (
    as_flags,
    assert_user_error,
    conformance_options,
    run_here,
    tiny_config,
)

from semantic_synthesis import data, runs
from semantic_synthesis.config import Config, known_options
from semantic_synthesis.inference import load_run
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import METHODS, instance_maps
from semantic_synthesis.one_picture import OneOptions, make_pictures
from semantic_synthesis.options import options_of
from semantic_synthesis.restyling import apply_edits, parse_edit
from semantic_synthesis.serving.served_model import ServedModel
from semantic_synthesis.styles import CLASS, LAYER, REGION, StyleSpec, encoded_names

# Declaration


@methods
def test_declaration(name):
    """Name, options and roles agree; the config's way to config.json and back changes nothing."""
    method = METHODS[name]
    assert method.config_class.method == name and Config.class_for(name) is method.config_class
    run = opened(name)
    assert Config.load(run_dir(name)) == run.config.replace(checkpoint_dir=run_dir(name))
    assert type(run.config) is method.config_class
    stored = json.loads((Path(run_dir(name)) / "config.json").read_text())
    assert set(stored) == {*options_of(method.config_class), "class_table"}
    assert SIZE % run.method.stride == 0 or run.method.stride % SIZE == 0
    for key, spec in run.style_specs.items():
        assert isinstance(spec, StyleSpec) and len(spec.shape) == len(spec.axes), key
        assert [size is None for size in spec.shape] == [axis == REGION for axis in spec.axes]
        assert spec.present <= len(spec.axes) and (spec.encoded or not spec.present)


@methods
def test_variables_are_complete_after_construction(name):
    """No call makes a variable, and objectives share none."""
    config = tiny_config(folder() / "fresh", **conformance_options(name))
    with networks():
        model = runs.build_method(METHODS[name].without_features(config))
    before = dict(named_variables(model))
    dataset = data.open_dataset(config, instance_maps=instance_maps(config))
    batch = next(iter(dataset.batches(2)))
    for _ in range(3):
        model.advance_spectral_norms()  # as steps do; a random pair of vectors tells nothing of a kernel's norm
    losses = tf.function(model.compute_losses, autograph=False)(batch)
    assert list(named_variables(model)) == list(before)
    assert set(losses) == set(model.objectives())
    owned = [{id(v) for v in model.objective_variables(objective)} for objective in losses]
    assert all(owned) and sum(map(len, owned)) == len(set().union(*owned))
    assert set().union(*owned) == {id(v) for v in before.values() if v.trainable}
    for terms in losses.values():
        assert terms and all(
            x.dtype == tf.float32 and x.shape == [] and np.isfinite(x) for x in terms.values()
        )


# Styles


@methods
def test_equal_seeds_give_equal_styles_in_any_batch(name):
    run = opened(name)
    layout = layout_of(run, 5)
    together, alone = (arrays(run.sample_style(seeds, layout)) for seeds in ([3, 8, 3], [8]))
    assert set(together) == set(run.style_specs)
    for key, spec in run.style_specs.items():
        assert together[key].shape[1:] == alone[key].shape[1:] and together[key].dtype == np.float32
        assert all(size in (None, n) for size, n in zip(spec.shape, alone[key].shape[1:], strict=True))
        np.testing.assert_array_equal(together[key][0], together[key][2])
        np.testing.assert_array_equal(together[key][1], alone[key][0])
        assert (together[key][0] != together[key][1]).any()


@methods
def test_a_photo_decides_the_rows_it_says(name):
    """Where `present` is false the seed's row stays, bit for bit; elsewhere the seed does not matter."""
    run = opened(name)
    if not run.encoded:
        pytest.skip("this method reads no photos")
    layout, photo = layout_of(run, 5), scene().image
    encoded = run.read_photos(photo, layout)
    assert set(encoded.values) == set(encoded_names(run.style_specs)) == set(run.encoded)
    one, two = (arrays(run.encode_style(photo, layout, seed)) for seed in (1, 2))
    sampled = arrays(run.sample_style([1], layout))
    for key, spec in run.style_specs.items():
        if key not in encoded.values:
            np.testing.assert_array_equal(one[key], sampled[key])
            continue
        present = np.ones(one[key].shape, bool)
        if spec.present:
            there = np.asarray(encoded.present[key])
            assert there.dtype == bool and there.shape == one[key].shape[: 1 + spec.present]
            present = np.broadcast_to(
                there.reshape(there.shape + (1,) * (present.ndim - there.ndim)), present.shape
            )
        np.testing.assert_array_equal(one[key][~present], sampled[key][~present])
        np.testing.assert_array_equal(one[key][present], two[key][present])
        assert (one[key][present] != sampled[key][present]).any()


def parts(run):
    """[(text of an edit's part, tensors it may change, {axis: indices} it chooses)] of all that axes allow."""
    grass = run.table.names.index("grass")
    local = [key for key, spec in run.style_specs.items() if spec.is_local]
    whole = [key for key, spec in run.style_specs.items() if not spec.is_local]
    rows = {CLASS: [grass]}
    if run.instance_maps == "regions":
        layout = layout_of(run, 5)
        inside = [
            r
            for r in np.unique(layout["instance"])
            if np.bincount(layout["label"][layout["instance"] == r]).argmax() == grass
        ]
        rows[REGION] = inside
    found = [("all", local, {}), ("class:grass", local, rows)] if local else []
    found += [("picture", whole, {})] if whole else []
    layered = [key for key in local if LAYER in run.style_specs[key].axes]
    found += [("class:grass/1", layered, {**rows, LAYER: [1]})] if layered else []
    return found


@methods
def test_restyling_changes_the_named_rows_and_nothing_else(name):
    run = opened(name)
    layout, label = layout_of(run, 5), scene().label
    instance = scene().instance if run.instance_maps else None
    before, other = (arrays(run.sample_style([seed], layout)) for seed in (1, 9))
    for text, tensors, rows in parts(run):
        after = arrays(apply_edits(run, [parse_edit(f"{text}=seed:9")], label, instance, before))
        for key, values in before.items():
            chosen = np.zeros(values.shape, bool)
            if key in tensors:
                index = [slice(None)] * values.ndim
                for axis, axis_name in enumerate(run.style_specs[key].axes):
                    if axis_name in rows:
                        index[1 + axis] = rows[axis_name]
                grid = [
                    np.arange(n)[i] if isinstance(i, slice) else np.array(i)
                    for i, n in zip(index, values.shape, strict=True)
                ]
                chosen[np.ix_(*grid)] = True
                assert chosen.any()
            np.testing.assert_array_equal(
                after[key], np.where(chosen, other[key], values), err_msg=f"{text} {key}"
            )
    refused = [p for p in ("picture", "all", "all/0") if p not in [t for t, _, _ in parts(run)]]
    for text in refused:
        if text == "all/0" and any(LAYER in spec.axes for spec in run.style_specs.values()):
            continue
        with pytest.raises(ValueError, match=r"--restyle .*this run"):
            apply_edits(run, [parse_edit(f"{text}=seed:9")], label, instance, before)


# Pictures


@slow_for("sims")
def test_pictures_depend_on_layout_and_style_alone(name):
    """synthesize is pure; N styles share one plan; a row of a batch equals the row alone."""
    run = opened(name)
    one, both = layout_of(run, 5), layout_of(run, 5, 6)
    styles = run.sample_style([1, 2], both)
    pictures = run.synthesize(both, styles)
    assert pictures.dtype == np.uint8 and pictures.shape == (2, SIZE, SIZE, 3) and pictures.std() > 5
    np.testing.assert_array_equal(pictures, run.synthesize(both, styles))
    for row, seed in enumerate((5, 6)):
        alone = layout_of(run, seed)
        single = run.synthesize(alone, run.sample_style([row + 1], alone))
        assert np.abs(single[0].astype(int) - pictures[row]).max() <= 1
    if not run.style_specs:
        return
    several = run.synthesize(one, run.sample_style([1, 2, 1], one))
    assert (several[0] != several[1]).any()
    assert np.abs(several[0].astype(int) - pictures[0]).max() <= 1
    assert np.abs(several[2].astype(int) - several[0]).max() <= 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@slow_for("sims")
def test_a_picture_does_not_depend_on_how_many_came_before(name, precision):
    """In float32 the first two are made without a graph, later ones by it: the same bytes."""
    with networks():
        run = load_run(run_dir(name), precision)
    layout = layout_of(run, 5)
    pictures = [run.synthesize(layout, run.sample_style([seed], layout)) for seed in (0, 1, 0, 1)]
    assert run._render.graph.experimental_get_tracing_count() == 1
    np.testing.assert_array_equal(pictures[:2], pictures[2:])


@slow_for("sims")
def test_bfloat16_pictures_are_near(name):
    with networks():
        half = load_run(run_dir(name), "bfloat16")
    run = opened(name)
    layout = layout_of(run, 5)
    style = run.sample_style([1], layout)
    off = np.abs(half.synthesize(layout, style).astype(int) - run.synthesize(layout, style))
    assert 0 < off.mean() < 8  # 8 bits of mantissa through a few layers


def ask(served, signature, **rows):
    """Outputs of one REST request by columns, as JSON gives them."""
    body = json.dumps({"signature_name": signature, "inputs": rows}).encode()
    found = json.loads(served.predict(body))["outputs"]
    return found


@slow_for("clade", "inade", "clvae", "scgan", "oasis", "sims")
def test_every_way_to_a_picture_gives_the_same_pixels(name, tmp_path):
    """Synthesizer = test_one.py = SavedModel through REST, and every style tensor there and back."""
    run, layout = opened(name), layout_of(opened(name), 5)
    expected = run.synthesize(layout, run.sample_style([3], layout))[0].astype(int)
    cv2.imwrite(str(tmp_path / "map.png"), scene().label)
    cv2.imwrite(str(tmp_path / "objects.png"), scene().instance.astype(np.uint16))
    objects = str(tmp_path / "objects.png") if run.instance_maps else ""
    with networks():
        written = make_pictures(
            OneOptions(
                checkpoint_dir=run_dir(name),
                label_filename=str(tmp_path / "map.png"),
                instance_filename=objects,
                results_dir=str(tmp_path),
                seed=3,
            )
        )
    np.testing.assert_array_equal(cv2.imread(written[0])[..., ::-1], expected)
    served = ServedModel(name, 1, exported(name))
    maps = {"label": scene().label[None].tolist()}
    if run.instance_maps:
        maps["instance"] = scene().instance[None].tolist()
    from_seed = np.array(ask(served, "serving_default", **maps, seed=[3]))[0]
    assert np.abs(from_seed - expected).max() <= 1
    if not run.style_specs:
        return
    needed = maps if any(REGION in spec.axes for spec in run.style_specs.values()) else {}
    style = ask(served, "sample_style", **needed, seed=[3])
    style = style if len(run.style_specs) > 1 else dict.fromkeys(run.style_specs, style)
    for key, values in run.sample_style([3], layout).items():
        np.testing.assert_allclose(style[key], values, rtol=1e-6, atol=1e-7)
    again = np.array(ask(served, "synthesize_style", **maps, **style))[0]
    assert np.abs(again - expected).max() <= 1
    if run.encoded:
        shown = maps if run.method.encoder_sees_layout else {}
        found = ask(served, "encode_style", image=scene().image[None].tolist(), **shown)
        encoded = run.read_photos(scene().image, layout)
        if len(encoded.values) + len(encoded.present) == 1:
            found = dict.fromkeys(encoded.values, found)
        for key, values in encoded.values.items():
            np.testing.assert_allclose(found[key], values, rtol=1e-3, atol=1e-4)
        for key, values in encoded.present.items():
            np.testing.assert_array_equal(found[f"{key}_present"], values)


# Options


@methods
def test_foreign_flags_are_refused(name):
    own = options_of(Config.class_for(name))
    foreign = next(option for option in known_options() if option not in own)
    with pytest.raises(ValueError, match=rf"--{foreign}: an option of .*which {name} does not have"):
        runs.training_config({"method": name, foreign: 1}, data.resolve)


def test_a_foreign_flag_names_its_owner():
    result = run_here("train", as_flags({"method": "spade", "noise_dim": 8}))
    assert_user_error(result, "--noise_dim", "INADE", "leave it out")
