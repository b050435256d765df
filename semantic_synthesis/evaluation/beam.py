"""`generate --engine beam`: the same pictures by a pipeline of Apache Beam, whose runner decides where and how many.

An element is a batch of layouts, the same batches as without an engine, so that every picture is the same to the byte.
A worker that Beam starts loads the run once (`Painter`); what it makes it writes itself, the manifest's line first. A
batch that is retried writes the same files again, whole or not at all: each picture is there once.

Statistics for FID (`--save_fake_stats`) are computed in the same pipeline from the files, those that were there before
included: features of each batch, whose `Moments` Beam adds up in any order.
"""

from __future__ import annotations

import functools
import os
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

from semantic_synthesis.data import read_image
from semantic_synthesis.evaluation.generating import paint_all, write_picture
from semantic_synthesis.evaluation.inception import InceptionFeatures
from semantic_synthesis.evaluation.jobs import Job, Output, encoding_of
from semantic_synthesis.evaluation.manifest import Manifest
from semantic_synthesis.evaluation.statistics import Moments, save_statistics
from semantic_synthesis.inference import Synthesizer, load_run
from semantic_synthesis.runs import asked_size, load_config

_MISTAKE = re.compile(
    r"^(?:\w+\.)*(?:DataError|ValueError|OSError|FileNotFoundError|PermissionError): (.+)$", re.M
)
Batch = list[tuple[Job, Output]]


class Painter(ModelHandler[Batch, PredictionResult, Synthesizer]):
    """Batches of (job, output) to their pictures, by a run that each worker process loads once."""

    def __init__(
        self, run_dir: str, precision: str, batch_size: int, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self._run_dir, self._precision, self._batch_size = run_dir, precision, batch_size
        self._size = size

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
            yield PredictionResult(items, list(paint_all(model, items, self._batch_size, size=self._size)))


class Write(beam.DoFn):
    """Pictures to files; yields the names of a batch's files when they are there."""

    def __init__(self, options: Any, settings: Mapping[str, Any]) -> None:
        self._options, self._settings = options, dict(settings)

    def setup(self) -> None:
        """Opens the manifest, once per worker."""
        self._manifest = Manifest(self._options.results_dir, self._settings, overwrite=True)

    def process(self, result: PredictionResult) -> Iterator[list[str]]:
        """Writes one batch."""
        encoding, files = encoding_of(self._options), []
        for items, pictures in result.inference:
            for (job, out), picture in zip(items, pictures, strict=True):
                write_picture(self._manifest, encoding, job, out, np.asarray(picture))
                files.append(out.file)
        yield files

    def finish_bundle(self) -> None:
        """Writes the manifest's lines that wait."""
        self._manifest.close()


Features = tuple[np.ndarray, frozenset[str]]  # float32 [N,F] of pictures, and the pictures' sizes
Seen = tuple[Moments, frozenset[str]]


class Measure(beam.DoFn):
    """Names of a batch's files to their features."""

    def __init__(self, options: Any) -> None:
        self._options = options

    def process(self, files: list[str]) -> Iterator[Features]:
        """Reads and measures one batch; none of its pictures if their sizes differ, which is refused in the end."""
        network = measuring_network(self._options.inception_weights, self._options.eval_dims)
        pictures = [read_image(os.path.join(self._options.results_dir, file)) for file in files]
        sizes = frozenset(f"{picture.shape[1]}x{picture.shape[0]}" for picture in pictures)
        alike = np.stack(pictures) if len(sizes) == 1 else None
        yield np.zeros((0, network.dims), np.float32) if alike is None else network(alike), sizes


class Together(beam.CombineFn):
    """Features to the Moments of all."""

    def __init__(self, dims: int) -> None:
        self._dims = dims

    def create_accumulator(self) -> Seen:
        """Of no picture."""
        return Moments(self._dims), frozenset()

    def add_input(self, accumulator: Seen, element: Features) -> Seen:
        """With one batch more."""
        accumulator[0].update(element[0])
        return accumulator[0], accumulator[1] | element[1]

    def merge_accumulators(self, accumulators: Iterable[Seen]) -> Seen:
        """Several as one."""
        moments, sizes = self.create_accumulator()
        for part, more in accumulators:
            moments.merge(part)
            sizes |= more
        return moments, sizes

    def extract_output(self, accumulator: Seen) -> Seen:
        """The sum itself."""
        return accumulator


@functools.cache
def measuring_network(weights: str, dims: str) -> InceptionFeatures:
    """The network of --inception_weights and --eval_dims, once per process."""
    return InceptionFeatures(weights, int(dims))


def write_all_with_beam(
    options: Any, settings: Mapping[str, Any], pending: Batch, there: Sequence[str]
) -> None:
    """Makes and writes the pictures of [(job, output)]; returns when Beam says that all are done.

    there: names of pictures made before, which count in the statistics that `--save_fake_stats` asks for.

    ValueError, one line, for what is wrong with a file or for a pipeline that failed.
    """
    size = options.batch_size
    network = (
        measuring_network(options.inception_weights, options.eval_dims) if options.save_fake_stats else None
    )
    flags = PipelineOptions([f"--runner={options.runner}", *options.beam_option])
    asked = asked_size(options, load_config(options.checkpoint_dir))
    painter = Painter(options.checkpoint_dir, options.precision, size, asked)
    try:
        with beam.Pipeline(options=flags) as pipeline:
            written = (
                pipeline
                | "batches" >> beam.Create(_parts(pending, size))
                | "spread" >> beam.Reshuffle()
                | "paint" >> RunInference(painter)
                | "write" >> beam.ParDo(Write(options, settings))
            )
            if network:
                before = pipeline | "there" >> beam.Create(_parts(there, size)) | beam.Reshuffle()
                _ = (
                    (written, before)
                    | beam.Flatten()
                    | "measure" >> beam.ParDo(Measure(options))
                    | "merge" >> beam.CombineGlobally(Together(network.dims))
                    | "save" >> beam.Map(_saved, options.save_fake_stats, network.name)
                )
    except Exception as error:
        found = _MISTAKE.findall(str(error))
        if not found:
            raise
        raise ValueError(found[-1].split(" [while running")[0]) from None


def _parts(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


def _saved(seen, path, network):
    moments, sizes = seen
    if len(sizes) > 1:
        raise ValueError(
            f"--save_fake_stats: pictures of {', '.join(sorted(sizes))} pixels, all made; "
            "evaluate --fake_dir DIR --eval_size WxH --save_fake_stats FILE gives them one size"
        )
    save_statistics(path, moments, network)
