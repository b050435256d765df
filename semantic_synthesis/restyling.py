"""Edits of a style, part by part: `--restyle PART=SOURCE[@SHARE]` and the functions behind it.

PART    all (every region or class), class:NAME, instance:ID (an id of the instance map), or picture (what belongs
        to the whole picture); where a style has layers, /3 or /3-4 behind it chooses among them (0 the finest)
SOURCE  seed:N, or PHOTO (a picture of the same layout), or PHOTO,LABELMAP (a picture of any layout, with its
        label map: a region takes the style of its class there); for instance:ID also instance:ID, the style that this
        other object has by then
SHARE   0 keeps the style, 1 (the default) replaces it, between them the two are mixed linearly

Which parts a run's style has follows from the axes of its tensors (`styles.StyleSpec`). Everything else keeps its
style.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from semantic_synthesis import data, storage
from semantic_synthesis.styles import CLASS, LAYER, REGION, Encoded, needs_regions

if TYPE_CHECKING:
    from semantic_synthesis.data.tables import ClassTable

GRAMMAR = (
    "expected PART=SOURCE[@SHARE] with PART all, class:NAME, instance:ID or picture (/3 or /3-4 behind it for layers) "
    "and SOURCE seed:N, PHOTO or PHOTO,LABELMAP, for example class:tree=seed:7 or instance:3=photo.jpg,map.png@0.5"
)
_SHOWN = 60


@dataclass(frozen=True)
class Edit:
    """One parsed --restyle: which part ("all", "class", "instance" or "picture", and its name), of which layers
    (first and last, None: all), from where, how much.

    seed is None for photos; label is "" where the photo shows the layout itself.
    """

    text: str
    kind: str
    name: str = ""
    layers: tuple | None = None
    seed: int | None = None
    like: int | None = None  # the object whose style is taken
    photo: str = ""
    label: str = ""
    share: float = 1.0


def parse_edit(text: str, names: Sequence[str] = ()) -> Edit:
    """An Edit from PART=SOURCE[@SHARE]; ValueError with the grammar otherwise.

    names: class names, which may hold a / themselves.
    """
    part, equals, source = text.partition("=")
    part, layers = _split_layers(part.strip(), names, text)
    kind, colon, name = (piece.strip() for piece in part.partition(":"))
    known = (kind in ("all", "picture") and not colon) or (kind in ("class", "instance") and name)
    if not equals or not known or (kind == "instance" and not name.lstrip("-").isdecimal()):
        raise ValueError(f"--restyle {text}: {GRAMMAR}")
    source, share = _split_share(source.strip(), text)
    if not source:
        raise ValueError(f"--restyle {text}: nothing after =; {GRAMMAR}")
    if source.startswith("seed:"):
        try:
            seed = int(source.removeprefix("seed:"))
        except ValueError:
            seed = 2**63
        if not -(2**63) <= seed < 2**63:
            raise ValueError(f"--restyle {text}: seed is no whole number of 64 bits; {GRAMMAR}")
        return Edit(text, kind, name, layers, seed=seed, share=share)
    if kind == "instance" and re.fullmatch(r"instance:\d+", source):
        return Edit(text, kind, name, layers, like=int(source.removeprefix("instance:")), share=share)
    photo, label = split_photo(source)
    return Edit(text, kind, name, layers, photo=photo, label=label, share=share)


def split_photo(source: str) -> tuple[str, str]:
    """(photo, label map or "") of PHOTO[,LABELMAP]; names may hold commas: the first file there is the photo."""
    if storage.exists(source):
        return source, ""
    commas = [match.start() for match in re.finditer(",", source)]
    pairs = [(source[:at].strip(), source[at + 1 :].strip()) for at in commas] or [(source, "")]
    return next((pair for pair in pairs if storage.exists(pair[0])), pairs[0])


def _split_layers(part, names, text):
    """(part, (first, last) or None): the layers behind the last /, unless that is part of a class's name."""
    match = re.fullmatch(r"(.*)/(\d+)(?:-(\d+))?", part)
    if not match or part.removeprefix("class:") in names:
        return part, None
    first, last = int(match[2]), int(match[3] or match[2])
    if last < first:
        raise ValueError(f"--restyle {text}: layers {first}-{last}; expected the smaller number first")
    return match[1].strip(), (first, last)


def _split_share(source, text):
    """(source, share): the number after the last @, if what follows is one."""
    rest, at, last = source.rpartition("@")
    try:
        share = float(last)
    except ValueError:
        return source, 1.0
    if not at:
        return source, 1.0
    if not 0 <= share <= 1:
        raise ValueError(f"--restyle {text}: share {last}; expected a number from 0 to 1")
    return rest, share


class Region(NamedTuple):
    """A region of a layout: its row in the style, its class (of most of its pixels) and, for objects, the id
    in the instance map (0: none)."""

    row: int
    class_id: int
    instance: int


def list_regions(run: Any, label: np.ndarray, instance: np.ndarray | None = None) -> list[Region]:
    """The Regions of one layout: label int [h,w] and, where known, instance int [h,w] as read from files."""
    return regions_of_layout(run, run.layout(label, instance), instance)


def regions_of_layout(
    run: Any, layout: dict[str, np.ndarray], instance: np.ndarray | None = None
) -> list[Region]:
    """`list_regions` of a layout as `run.layout` gives it."""
    classes, rows = layout["label"][0], layout["instance"][0]
    objects = np.zeros_like(rows) if instance is None else run.fit_map(np.asarray(instance))
    found = []
    for row in range(rows.max() + 1):
        inside = rows == row
        found.append(Region(row, int(np.bincount(classes[inside]).argmax()), int(objects[inside][0])))
    return found


def select(edit: Edit, regions: list[Region], table: ClassTable) -> list[Region]:
    """The Regions that an edit names; ValueError with those there are if it names none."""
    if edit.kind == "all":
        return regions
    if edit.kind == "class":
        class_id = _class_id(edit, table)
        chosen = [r for r in regions if r.class_id == class_id]
        if not chosen:
            _refuse_absent(edit, {r.class_id for r in regions}, table)
        return chosen
    chosen = [r for r in regions if r.instance == int(edit.name) != 0]
    if not chosen:
        there = [f"{r.instance} ({table.names[r.class_id]})" for r in regions if r.instance]
        if not there:
            raise ValueError(
                f"--restyle {edit.text}: no object has an id here; give an instance map with --instance_filename"
            )
        listed = ", ".join(there[:_SHOWN])
        if len(there) > _SHOWN:
            listed += f" and {len(there) - _SHOWN} more, up to {regions[-1].instance}"
        zero = " (0 marks pixels without an object)" if int(edit.name) == 0 else ""
        raise ValueError(
            f"--restyle {edit.text}: no instance {edit.name} in the instance map{zero}; it has {listed}"
        )
    return chosen


def _class_id(edit, table):
    if edit.name not in table.names:
        raise ValueError(
            f"--restyle {edit.text}: no class {edit.name}; this run knows {', '.join(table.names)}"
        )
    return list(table.names).index(edit.name)


def _refuse_absent(edit, there, table):
    listed = ", ".join(sorted(table.names[c] for c in there))
    raise ValueError(f"--restyle {edit.text}: the layout has no {edit.name}; it has {listed}")


# What an edit touches: {tensor: bool mask over one style}


def _masks(run, edit, layout, instance):
    """{style tensor: bool, its shape for this layout with trailing axes of length 1 where whole}."""
    specs = run.style_specs
    local = edit.kind != "picture"
    chosen = {name: spec for name, spec in specs.items() if spec.is_local == local}
    if edit.kind == "instance":
        chosen = {name: spec for name, spec in chosen.items() if REGION in spec.axes}
    if not chosen:
        raise ValueError(f"--restyle {edit.text}: {_lacking(run, edit)}")
    if edit.layers:
        chosen = {name: spec for name, spec in chosen.items() if LAYER in spec.axes}
        if not chosen:
            raise ValueError(f"--restyle {edit.text}: this run has no style per layer; leave the / out")
    if 0 < edit.share < 1 and not all(spec.graded for spec in chosen.values()):
        raise ValueError(
            f"--restyle {edit.text}: share {edit.share:g}; this run's styles ({', '.join(chosen)}) choose one of "
            "several things and cannot be mixed; leave the @ out"
        )
    rows = _rows(run, edit, layout, instance)
    return {name: _mask(edit, spec, rows, layout) for name, spec in chosen.items()}


def _lacking(run, edit):
    method = run.config.method
    if not run.style_specs:
        return f"this run ({method}) takes no style at all"
    if edit.kind == "picture":
        return (
            f"this run ({method}) has no style of the whole picture; expected all, class:NAME or instance:ID"
        )
    if any(spec.is_local for spec in run.style_specs.values()):
        return f"this run ({method}) has one style per class, not per object; expected class:NAME"
    return (
        f"this run ({method}) has one style for the whole picture; expected picture=SOURCE, or a run with a style "
        "per region or class"
    )


def _rows(run, edit, layout, instance):
    """{axis: chosen indices} for the axes of region and class."""
    if edit.kind == "picture":
        return {}
    rows, classes = {}, np.unique(layout["label"][0])
    if needs_regions(run.style_specs):
        rows[REGION] = [
            region.row for region in select(edit, regions_of_layout(run, layout, instance), run.table)
        ]
    if edit.kind == "all":
        rows[CLASS] = list(range(run.table.num_classes))
    elif edit.kind == "class":
        rows[CLASS] = [_class_id(edit, run.table)]
        if rows[CLASS][0] not in classes:
            _refuse_absent(edit, set(classes.tolist()), run.table)
    return rows


def style_masks(
    run: Any, layout: dict[str, np.ndarray], rows: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """{style tensor: bool mask, for `mix_style`} of chosen rows, {REGION or CLASS: indices}; whole tensors for {}."""
    specs = {n: s for n, s in run.style_specs.items() if set(rows) & set(s.axes) or not rows}
    return {name: _mask(None, spec, rows, layout) for name, spec in specs.items()}


def _mask(edit, spec, rows, layout):
    """edit: an Edit, for its layers, or None."""
    sizes = [layout["instance"].max() + 1 if size is None else size for size in spec.shape]
    mask = np.ones([1] * len(sizes), bool)
    for axis, (name, size) in enumerate(zip(spec.axes, sizes, strict=True)):
        indices = rows.get(name)
        if name == LAYER and edit and edit.layers:
            if edit.layers[1] >= size:
                raise ValueError(
                    f"--restyle {edit.text}: layer {edit.layers[1]}; this run has 0 to {size - 1}"
                )
            indices = list(range(edit.layers[0], edit.layers[1] + 1))
        if indices is None:
            continue
        along = np.zeros(size, bool)
        along[indices] = True
        mask = mask & along.reshape([-1 if a == axis else 1 for a in range(len(sizes))])
    return mask


def mix_style(
    style: dict[str, tf.Tensor], source: Encoded, masks: Mapping[str, Any], share: float = 1.0
) -> dict[str, tf.Tensor]:
    """The style with what the masks choose moved to another style's values.

    style: {name: [N,...]}; source: Encoded of batch 1 or N, whose absent rows change nothing; masks: {name: bool
    that spreads over one style}; share in [0,1]. Tensors that the source does not hold stay as they are.
    """
    edited = dict(style)
    for name, mask in masks.items():
        if name not in source.values:
            continue
        values, new = np.array(style[name]), np.array(source.values[name])
        mask = np.broadcast_to(mask[None], np.broadcast_shapes(mask[None].shape, values.shape))
        mask = mask & _present(source, name, new)
        edited[name] = tf.constant(np.where(mask, (1 - share) * values + share * new, values))
    return edited


def _present(source, name, values):
    """bool that spreads over values: the rows that the source holds."""
    if name not in source.present:
        return np.ones([1] * values.ndim, bool)
    present = np.array(source.present[name])
    return present.reshape([*present.shape, *[1] * (values.ndim - present.ndim)])


def apply_edits(
    run: Any,
    edits: Sequence[Edit],
    label: np.ndarray,
    instance: np.ndarray | None,
    style: dict[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
    """The style after all edits, in their order.

    run: Synthesizer; edits: Edits; label, instance: the layout's maps as read from files; style: of N samples.
    Errors: ValueError, one line, for parts, classes or photos that do not fit.
    """
    if not edits:
        return style
    layout = run.layout(label, instance)
    for edit in edits:
        masks = _masks(run, edit, layout, instance)
        try:
            source = _source(run, edit, layout, instance, style)
        except OSError as error:
            hint = f"; a seed is written seed:{edit.photo}" if edit.photo.lstrip("-").isdecimal() else ""
            raise ValueError(f"--restyle {edit.text}: {error}{hint}") from None
        _check_source(run, edit, masks, source)
        style = mix_style(style, source, masks, edit.share)
    return style


def _source(run, edit, layout, instance, style):
    """The Encoded, of batch 1 or, of an object, of the style's, that an edit takes from."""
    if edit.like is not None:
        regions = regions_of_layout(run, layout, instance)
        (row,) = (region.row for region in select(replace(edit, name=str(edit.like)), regions, run.table))
        local = {name: spec for name, spec in run.style_specs.items() if REGION in spec.axes}
        taken = {
            name: np.take(style[name], [row], spec.axes.index(REGION) + 1) for name, spec in local.items()
        }
        return Encoded({name: np.broadcast_to(new, style[name].shape) for name, new in taken.items()})
    if edit.seed is not None:
        return Encoded(run.sample_style([edit.seed], layout))
    if not run.encoded:
        raise ValueError(
            f"--restyle {edit.text}: this run has no encoder of photos; it takes no style image, expected seed:N"
        )
    photo = data.read_image(edit.photo)
    if not edit.label:
        return run.read_photos(photo, layout)
    return run.read_photos(photo, layout, read_photo_layout(run, edit.label, edit.photo, photo))


def read_photo_layout(
    run: Any, path: str | Path, photo_path: str | Path, photo: np.ndarray
) -> dict[str, np.ndarray]:
    """The layout that a label map file gives of a photo uint8 [h,w,3], without objects; ValueError unless their sizes
    are equal."""
    data.check_upright(data.read_bytes(photo_path), photo_path)
    label = data.read_label(path, run.table)
    if label.shape != photo.shape[:2]:
        raise ValueError(
            f"{path}: {label.shape[1]}x{label.shape[0]} pixels, but {photo_path} has "
            f"{photo.shape[1]}x{photo.shape[0]}; expected the photo's own label map"
        )
    return run.layout(label, np.zeros_like(label) if run.instance_maps == "objects" else None)


def _check_source(run, edit, masks, source):
    """Refuses a photo that decides nothing of what is to be edited."""
    names = [name for name in masks if name in source.values]
    if not names:
        raise ValueError(f"--restyle {edit.text}: photos decide nothing of it in this run; expected seed:N")
    for name in names:
        if (_present(source, name, np.array(source.values[name])) & masks[name][None]).any():
            return
    shown = edit.label or "the layout"
    there = ""
    if edit.label:
        label = data.read_label(edit.label, run.table)
        there = f"; it has {', '.join(run.table.names[c] for c in np.unique(label))}"
    raise ValueError(f"--restyle {edit.text}: {shown} holds no such class{there}")
