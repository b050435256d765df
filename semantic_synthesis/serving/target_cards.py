"""The model card of a picture function for another program: how to call it and what is known about it."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf

from semantic_synthesis import __version__, storage
from semantic_synthesis.serving.bare import REGION_INPUT, SIGNATURE
from semantic_synthesis.serving.model_card import (
    data_of,
    describe,
    licence_of,
    options_of_run,
    style_axes_rules,
)

_CARD = """\
# {name}, for {program}

A generator ({method}): a label map and a style go in, a picture that looks like a photo comes out.
Written by semantic-synthesis {package} from the run `{run}`. Weights are stored as {weights}. Largest difference from
the picture that the run itself makes of the same map and style: {difference} of 255.

## Call

```python
{call}
```

| input or output | type and shape |
| --- | --- |
{rows}

One picture per call. Nothing is checked: other class ids than 0 to {last}, other shapes and NaN give wrong pictures,
not errors.

- `label`: class indices, in the order of `names` in `class_table.json`.{maps}{style}
- `image`: {image}

## Data and licence

- Trained on: {data}
- Weights: {licence}
- Code that made this model: Apache-2.0.

## Options of the run

```json
{options}
```
"""
_CALLS = {
    "lite": """\
from ai_edge_litert.interpreter import Interpreter  # or tf.lite.Interpreter

picture = Interpreter("{file}", num_threads=2).get_signature_runner("{signature}")
image = picture({arguments})["image"]""",
    "onnx": """\
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
(image,) = session.run(["image"], {{{items}}})""",
    "xla": """\
import tensorflow as tf

model = tf.saved_model.load("{file}")
image = model.{signature}({{{items}}})["image"]""",
}
_PROGRAMS = {"lite": "TensorFlow Lite", "onnx": "ONNX Runtime", "xla": "TensorFlow with XLA"}
_REGIONS = f"""
- `{REGION_INPUT}`: the row of the style that paints each pixel: any ids below the number of rows. The run's own
  numbers are first the classes of pixels without an object (by index), then the objects (by id); without objects
  `numpy.unique(label, return_inverse=True)[1]`."""
_INSTANCE = """
- `instance`: instance ids at the label map's size, 0 for none; their edges are what counts."""
_STYLE = """
- Style tensors: normally distributed random numbers, or what the signatures `sample_style` and `encode_style` of the
  run's export for serving give."""


def target_card(
    target: str,
    name: str,
    file: str,
    run_dir: str,
    config: Any,
    specs: dict[str, tf.TensorSpec],
    styles: dict[str, Any],
    image: tf.TensorSpec,
    weights: str,
    difference: int,
) -> str:
    """Markdown text. specs: {input: TensorSpec}; styles: {name: StyleSpec}; image: TensorSpec of the output."""
    arguments = ", ".join(f"{key}={key}" for key in specs)
    items = ", ".join(f'"{key}": {key}' for key in specs)
    rows = [f"| in `{key}` | {describe(key, spec, styles, rows=1)} |" for key, spec in specs.items()]
    rows.append(f"| out `image` | {describe('image', image, styles, rows=1)} |")
    return _CARD.format(
        name=name,
        program=_PROGRAMS[target],
        method=config.method,
        package=__version__,
        run=storage.name_of(run_dir),
        weights=weights,
        difference=difference,
        call=_CALLS[target].format(file=file, signature=SIGNATURE, arguments=arguments, items=items),
        rows="\n".join(rows),
        last=config.num_classes - 1,
        maps=(_REGIONS if REGION_INPUT in specs else "") + (_INSTANCE if "instance" in specs else ""),
        style=(_STYLE if styles else "") + style_axes_rules(styles, regions=False),
        image="uint8 RGB." if image.dtype.name == "uint8" else "float32 RGB in [-1,1].",
        data=data_of(config),
        licence=licence_of(config),
        options=json.dumps(options_of_run(config), indent=1),
    )
