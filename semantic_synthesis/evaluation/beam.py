"""`generate --engine beam`: the same pictures by a pipeline of Apache Beam, whose runner decides where and how many.

An element is a batch of layouts, the same batches as without an engine, so that every picture is the same to the byte.
A worker that Beam starts loads the run once (`Painter`); what it makes it writes itself, the manifest's line first. A
batch that is retried writes the same files again, whole or not at all: each picture is there once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

try:
    import apache_beam as beam
    from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError:
    raise ValueError(
        "--engine beam: Apache Beam is not installed; pip install 'semantic-synthesis[beam]'"
    ) from None

from semantic_synthesis.evaluation.generating import paint_all, write_picture
from semantic_synthesis.evaluation.jobs import Job, Output, encoding_of
from semantic_synthesis.evaluation.manifest import Manifest
from semantic_synthesis.inference import Synthesizer, load_run

_MISTAKE = re.compile(
    r"^(?:\w+\.)*(?:DataError|ValueError|OSError|FileNotFoundError|PermissionError): (.+)$", re.M
)
Batch = list[tuple[Job, Output]]


class Painter(ModelHandler[Batch, PredictionResult, Synthesizer]):
    """Batches of (job, output) to their pictures, by a run that each worker process loads once."""

    def __init__(self, run_dir: str, precision: str, batch_size: int) -> None:
        super().__init__()
        self._run_dir, self._precision, self._batch_size = run_dir, precision, batch_size

    def load_model(self) -> Synthesizer:
        """The run."""
        return load_run(self._run_dir, self._precision)

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Elements are batches already: Beam's own batching would change them."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def run_inference(
        self, batch: Sequence[Batch], model: Synthesizer, inference_args: Any = None
    ) -> Iterable[PredictionResult]:
        """A PredictionResult for each batch: its items, and [(items, uint8 [N,H,W,3])] by size."""
        for items in batch:
            yield PredictionResult(items, list(paint_all(model, items, self._batch_size)))


class Write(beam.DoFn):
    """Pictures to files; yields the names of those that are there."""

    def __init__(self, options: Any, settings: Mapping[str, Any]) -> None:
        self._options, self._settings = options, dict(settings)

    def setup(self) -> None:
        """Opens the manifest, once per worker."""
        self._manifest = Manifest(self._options.results_dir, self._settings, overwrite=True)

    def process(self, result: PredictionResult) -> Iterator[str]:
        """Writes one batch."""
        encoding = encoding_of(self._options)
        for items, pictures in result.inference:
            for (job, out), picture in zip(items, pictures, strict=True):
                write_picture(self._manifest, encoding, job, out, np.asarray(picture))
                yield out.file

    def finish_bundle(self) -> None:
        """Writes the manifest's lines that wait."""
        self._manifest.close()


def write_all_with_beam(options: Any, settings: Mapping[str, Any], pending: Batch) -> None:
    """Makes and writes the pictures of [(job, output)]; returns when Beam says that all are done.

    ValueError, one line, for what is wrong with a file or for a pipeline that failed.
    """
    size = options.batch_size
    batches = [pending[start : start + size] for start in range(0, len(pending), size)]
    flags = PipelineOptions([f"--runner={options.runner}", *options.beam_option])
    painter = Painter(options.checkpoint_dir, options.precision, size)
    try:
        with beam.Pipeline(options=flags) as pipeline:
            _ = (
                pipeline
                | "batches" >> beam.Create(batches)
                | "spread" >> beam.Reshuffle()
                | "paint" >> RunInference(painter)
                | "write" >> beam.ParDo(Write(options, settings))
            )
    except Exception as error:
        found = _MISTAKE.findall(str(error))
        if not found:
            raise
        raise ValueError(found[-1].split(" [while running")[0]) from None
