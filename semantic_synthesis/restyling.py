"""Edits of a style, region by region: `--restyle REGION=SOURCE[@SHARE]` and the functions behind it.

REGION  all, class:NAME (every region of that class) or instance:ID (an id of the instance map)
SOURCE  seed:N, or PHOTO (a picture of the same layout), or PHOTO,LABELMAP (a picture of any layout, with its
        label map: a region takes the style of its class there)
SHARE   0 keeps the style, 1 (the default) replaces it, between them the two are mixed linearly

Only methods with a style per region (INADE) can be edited so. Every other region keeps its style.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from semantic_synthesis import data

GRAMMAR = (
    "expected REGION=SOURCE[@SHARE] with REGION all, class:NAME or instance:ID and SOURCE seed:N, PHOTO or "
    "PHOTO,LABELMAP, for example class:tree=seed:7 or instance:3=photo.jpg,map.png@0.5"
)
_SHOWN = 60


@dataclass(frozen=True)
class Edit:
    """One parsed --restyle: which regions ("all", "class" or "instance", and its name), from where, how much.

    seed is None for photos; label is "" where the photo shows the layout itself.
    """

    text: str
    kind: str
    name: str = ""
    seed: int | None = None
    photo: str = ""
    label: str = ""
    share: float = 1.0


def parse_edit(text):
    """An Edit from REGION=SOURCE[@SHARE]; ValueError with the grammar otherwise."""
    region, equals, source = text.partition("=")
    kind, colon, name = (part.strip() for part in region.partition(":"))
    known = (kind == "all" and not colon) or (kind in ("class", "instance") and name)
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
        return Edit(text, kind, name, seed=seed, share=share)
    photo, _, label = (part.strip() for part in source.partition(","))
    return Edit(text, kind, name, photo=photo, label=label, share=share)


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


def list_regions(run, label, instance=None):
    """The Regions of one layout: label int [h,w] and, where known, instance int [h,w] as read from files."""
    return _regions_of(run, run.layout(label, instance), instance)


def _regions_of(run, layout, instance=None):
    classes, rows = layout["label"][0], layout["instance"][0]
    objects = np.zeros_like(rows) if instance is None else data.fit_label(np.asarray(instance), *run.size)
    found = []
    for row in range(rows.max() + 1):
        inside = rows == row
        found.append(Region(row, int(np.bincount(classes[inside]).argmax()), int(objects[inside][0])))
    return found


def select(edit, regions, table):
    """The Regions that an edit names; ValueError with those there are if it names none."""
    if edit.kind == "all":
        return regions
    if edit.kind == "class":
        if edit.name not in table.names:
            raise ValueError(
                f"--restyle {edit.text}: no class {edit.name}; this run knows {', '.join(table.names)}"
            )
        chosen = [r for r in regions if table.names[r.class_id] == edit.name]
        there = sorted({table.names[r.class_id] for r in regions})
        if not chosen:
            raise ValueError(
                f"--restyle {edit.text}: the layout has no {edit.name}; it has {', '.join(there)}"
            )
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


def mix_rows(style, source, rows, share=1.0):
    """The style with rows (list of ints) of its per-region tensors moved to those of another style.

    style: {name: [N,I,...]}; source: {name: [1 or N,J,...]} with a row for each of rows; share in [0,1].
    Tensors that the source does not hold stay as they are.
    """
    edited = dict(style)
    for name, new in source.items():
        values = np.array(style[name])
        values[:, rows] = (1 - share) * values[:, rows] + share * np.array(new)[:, rows]
        edited[name] = tf.constant(values)
    return edited


def per_region(run, style):
    """The tensors of a style that have a row per region."""
    shapes = run.method.style_shapes
    return {name: values for name, values in style.items() if None in shapes[name]}


def apply_edits(run, edits, label, instance, style):
    """The style after all edits, in their order.

    run: Synthesizer; edits: Edits; label, instance: the layout's maps as read from files; style: of N samples.
    Errors: ValueError, one line, for regions, classes or photos that do not fit.
    """
    if not edits:
        return style
    if run.instance_maps != "regions":
        raise ValueError(
            f"--restyle {edits[0].text}: this run ({run.config.method}) has one style for the whole picture; "
            "expected a run with a style per region, such as checkpoints/demo_inade"
        )
    layout = run.layout(label, instance)
    regions = _regions_of(run, layout, instance)
    for edit in edits:
        chosen = select(edit, regions, run.table)
        try:
            rows, source = _source(run, edit, chosen, len(regions), layout)
        except OSError as error:
            hint = f"; a seed is written seed:{edit.photo}" if edit.photo.lstrip("-").isdecimal() else ""
            raise ValueError(f"--restyle {edit.text}: {error}{hint}") from None
        style = mix_rows(style, source, rows, edit.share)
    return style


def _source(run, edit, chosen, count, layout):
    """(rows to change, {name: [1,I,...]} to take them from)."""
    rows = [region.row for region in chosen]
    if edit.seed is not None:
        return rows, per_region(run, run.sample_style([edit.seed], layout))
    photo = data.read_image(edit.photo)
    if not edit.label:
        return rows, per_region(run, run.encode_style(photo, layout))
    label = data.read_label(edit.label, run.table)
    if label.shape != photo.shape[:2]:
        raise ValueError(
            f"{edit.label}: {label.shape[1]}x{label.shape[0]} pixels, but {edit.photo} has "
            f"{photo.shape[1]}x{photo.shape[0]}; expected the photo's own label map"
        )
    theirs = run.layout(label)
    by_class = {region.class_id: region.row for region in _regions_of(run, theirs)}
    chosen = [region for region in chosen if region.class_id in by_class]
    if not chosen:
        there = ", ".join(run.table.names[c] for c in sorted(by_class))
        raise ValueError(f"--restyle {edit.text}: {edit.label} holds no such class; it has {there}")
    encoded = per_region(run, run.encode_style(photo, theirs))
    source = {}
    for name, values in encoded.items():
        source[name] = np.zeros([1, count, *values.shape[2:]], np.float32)
        for region in chosen:
            source[name][0, region.row] = values[0, by_class[region.class_id]]
    return [region.row for region in chosen], source
