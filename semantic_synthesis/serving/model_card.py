"""The model card beside an exported model: what it is, what goes in and out, what is known about it."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from semantic_synthesis import __version__, storage
from semantic_synthesis.config import is_place, without_folder
from semantic_synthesis.files import read_json, shipped
from semantic_synthesis.methods import method_class
from semantic_synthesis.styles import CLASS, REGION

_METRICS_FILE = "metrics.json"

_CARD = """\
# {name}, version {version}

A generator ({method}, {precision}): a label map goes in, a picture that looks like a photo comes out.
Written by semantic-synthesis {package} from the run `{run}`.

## Data and licence

- Trained on: {data}
- Weights: {licence}
- Code that made this model: Apache-2.0.

## Signatures

| signature | input or output | type and shape |
| --- | --- | --- |
{signatures}

N is the number of rows of a request, free from 1. {rows}

## Input rules

- `label`: class indices 0 to {last} (`class_table.json`, key `names`, tells which is which); anything
  else is an error that names the ids.
- `label_png_bytes`: PNG with the dataset's raw ids in one channel (`raw_ids`), a palette, or RGB in the
  table's `colors`, exactly. No anti-aliasing, no transparency.{instances}
- Size: {size}
- `seed`: int64, any value. {seed}{style}
- Pixels of one row depend on that row alone.

## Metrics

{metrics}

## Limits

- The model knows the {classes} classes of its table and scenes like its training data; other layouts give
  poor pictures.
- Pictures are synthetic; say so where you show them.

## Options of the run

```json
{options}
```
"""
_INSTANCE_RULE = """
- `instance`, `instance_png_bytes`: instance ids at the label map's size, 0{none} for none; PNG with one channel of
  1 to 16 bits, palette indices, or RGB as r + 256 g + 65536 b."""
_STYLE_RULE = "\n- `style_image_bytes`: JPEG or PNG, of up to 1,024 times the picture's pixels."
_REGION_RULE = """
- Rows of regions in a style ({names}): first the classes of pixels without an object (in the
  order of their indices), then the objects (in the order of their ids). `regions` gives the row of every pixel,
  `sample_style` and `encode_style` give rows, any of which may be replaced before `synthesize_style`. Rows
  beyond the last region are not used."""
_CLASS_RULE = """
- Rows of classes in a style ({names}): one for each class of the table, in its order, any of which may be
  replaced before `synthesize_style`."""
_SHOWN_RULE = """
- A photo must show the layout it comes with; in `png_style_label` it may show another one, whose map is
  `style_label_png_bytes` (of the photo's size; photos that EXIF turns are refused beside it): parts of the picture
  take the style of their class there.{present}"""
_BARE_RULE = """
- `picture` is for other programs that read this graph (TensorFlow Lite, ONNX, XLA): it checks nothing, and its
  rows are computed together."""
_PRESENT_RULE = """ What a photo does not
  decide is that of seed 0; `encode_style` tells it apart (`..._present`)."""


def model_card(export: Any, run_dir: str | Path) -> str:
    """Markdown text for an export.Export."""
    config, table = export.config, export.table
    random = "synthesize_style" in export.signatures
    return _CARD.format(
        name=export.name, version=export.version, method=config.method, precision=config.precision,
        package=__version__, run=storage.name_of(run_dir), data=data_of(config),
        licence=licence_of(config), signatures="\n".join(_signature_rows(export)),
        rows="Rows are computed together; pixels may differ by 1 between batch sizes." if export.batch_rows
        else "Rows are computed one by one: the same row gives the same pixels in any batch.",
        last=table.num_classes - 1, classes=table.num_classes, size=_size(export),
        instances=_instance_rule(export),
        seed="Equal seeds give equal styles." if random else "Without effect: this run has no random style.",
        style=_style_rules(export),
        metrics=_metrics(run_dir), options=json.dumps(options_of_run(config), indent=1),
    )  # fmt: skip


def _instance_rule(export):
    """What instance maps hold, where the run takes them."""
    if "instance" not in export.signatures["serving_default"].structured_input_signature[0][0]:
        return ""
    none = export.config.instance_none_id
    return _INSTANCE_RULE.format(none=f" or {none}" if none else "")


def data_of(config: Any) -> str:
    """What a run was trained on."""
    text = f"`{without_folder(config.dataset_mode)}`, class table '{config.class_table['name']}'"
    path = shipped("datasets", f"{config.dataset_mode}.json")
    if path.is_file():
        described = read_json(path, "restore the file")
        text += "".join(f". {described[key]}" for key in ("title", "source") if described.get(key))
    return text


def _style_rules(export):
    """What there is to know of the style inputs, from their axes."""
    text = _STYLE_RULE if "png_style" in export.signatures else ""
    text += style_axes_rules(export.style)
    if "picture" in export.signatures:
        text += _BARE_RULE
    if "png_style_label" in export.signatures:
        partial = any(spec.present for spec in export.style.values())
        text += _SHOWN_RULE.format(present=_PRESENT_RULE if partial else "")
    return text


def style_axes_rules(style: dict[str, Any], regions: bool = True) -> str:
    """What rows of style tensors belong to; style: {name: StyleSpec}; regions: also for those of regions."""
    text = ""
    for axis, rule in ((REGION, _REGION_RULE), (CLASS, _CLASS_RULE)):
        names = [f"`{name}`" for name, spec in style.items() if axis in spec.axes]
        text += rule.format(names=", ".join(names)) if names and (regions or axis != REGION) else ""
    return text


def licence_of(config: Any) -> str:
    """Under which terms its weights stand."""
    sources = method_class(config).sources(config)
    if config.dataset_mode == "scenes" and not sources:
        return "Apache-2.0 (the training pictures were rendered by this project; no other data or weights)."
    also = f" Training also used {'; '.join(sources)}." if sources else ""
    return f"the run records no licence; the terms of the training data apply.{also}"


def _signature_rows(export):
    for signature, function in sorted(export.signatures.items()):
        for name, spec in sorted(function.structured_input_signature[0][0].items()):
            yield f"| `{signature}` | in `{name}` | {describe(name, spec, export.style)} |"
        for name, spec in sorted(function.structured_outputs.items()):
            yield f"| | out `{name}` | {describe(name, spec, export.style)} |"


def describe(name: str, spec: Any, style: dict[str, Any], rows: str | int = "N") -> str:
    """Type and shape; axes of a style tensor by their names."""
    sizes = spec.shape[1:]
    of_style = style.get(name) or style.get(name.removesuffix("_present"))
    if of_style is None:
        known = [str(size) if size else "HW"[i] for i, size in enumerate(sizes)]
    else:
        axes = of_style.axes[: len(sizes)]
        known = [f"{axis} {size}" if size else f"{axis}s" for axis, size in zip(axes, sizes, strict=True)]
    return f"{spec.dtype.name} [{', '.join([str(rows), *known])}]"


def _size(export):
    if not export.size[0]:
        return (
            f"any width and height. Where a side is no multiple of {export.stride}, the map's last row and column are "
            "repeated up to the next one inside, and the picture is cut to the map's size."
        )
    size = f"{export.size[1]}x{export.size[0]} (width x height)"
    return f"{size}; `label` of another size is refused, PNG maps are fitted to it by nearest pixel centre."


def _metrics(run_dir):
    path = os.path.join(run_dir, _METRICS_FILE)
    if not storage.is_file(path):
        return f"None stored with the run (`{_METRICS_FILE}`)."
    values = json.dumps(read_json(path, "restore the file or remove it"), indent=1)
    return f"From the run's `{_METRICS_FILE}`:\n\n```json\n{values}\n```"


def options_of_run(config: Any) -> dict[str, Any]:
    """The options without places on the training machine and without the class table."""
    values = dataclasses.asdict(config)
    kept = (name for name in values if not is_place(name) and name != "class_table")
    return {name: without_folder(values[name]) for name in kept}
