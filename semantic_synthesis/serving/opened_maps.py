"""Label and instance maps that somebody opens on the painting page, as JSON: read with the command line's reader."""

import base64
import json
from typing import Any

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.data.decoding import check_map_pixels, decode_instance, decode_label, decode_samples
from semantic_synthesis.data.geometry import MOST_PIXELS
from semantic_synthesis.data.instances import file_objects
from semantic_synthesis.serving.live_run import LiveRun
from semantic_synthesis.serving.rest_protocol import RequestError

_MOST_FILE_PIXELS = 1 << 24
_MOST_EDGES = 0.5  # share of pixels that differ from their neighbour; maps have few, smoothed ones a fifth


def read_file(run: LiveRun, content: bytes, kind: str, source: str, crop: bool = False) -> bytes:
    """JSON bytes of a label or instance map that somebody opened, as the command line reads it, at the run's size.

    crop: of a map of another shape, the middle instead of all of it squeezed. A photo where a label map belongs:
    {"photo": true, "error": the reader's line}.
    """
    graph = run.graph
    if kind not in ("label", "instance"):
        raise RequestError(404, f"no kind of map {kind}")
    if not content:
        raise ValueError(f"{source}: the file is empty (0 bytes); copy or export it again")
    check_map_pixels(content, source, _MOST_FILE_PIXELS)
    if kind == "label":
        try:
            ids = decode_label(content, graph.table, source)
        except ValueError as error:
            if not looks_like_photo(content):
                raise
            return json.dumps({"photo": True, "error": " ".join(str(error).split())}).encode()
    else:
        ids = _small_ids(file_objects(decode_instance(content, source), run.config.instance_none_id))
    found = [int(n) for n in ids.shape]
    size = (graph.height, graph.width) if graph.height else _free_size(found)
    ids = _middle(np.asarray(ids), size) if crop else np.asarray(ids)
    return json.dumps({**map_values(data.fit_label(ids, *size)), "file_size": found}).encode()


def looks_like_photo(content: bytes) -> bool:
    """Whether PNG bytes hold a colour picture in which most neighbouring pixels differ, as in no map."""
    try:
        _, pixels = decode_samples(content, "")
    except ValueError:
        return False
    differ = pixels[:, 1:] != pixels[:, :-1]
    return pixels.ndim == 3 and differ.size > 0 and bool(differ.any(-1).mean() > _MOST_EDGES)


def _middle(ids, size):
    """The largest middle part of a map that has the shape of a size."""
    height, width = ids.shape
    rows = min(height, max(1, round(width * size[0] / size[1])))
    columns = min(width, max(1, round(height * size[1] / size[0])))
    top, left = (height - rows) // 2, (width - columns) // 2
    return ids[top : top + rows, left : left + columns]


def _small_ids(ids):
    """Object ids that fit 16 bits: as they are, or numbered anew in their order."""
    if ids.min(initial=0) >= 0 and ids.max(initial=0) < 1 << 16:
        return ids
    values, ranks = np.unique(np.where(ids == 0, -(2**40), ids.astype(np.int64)), return_inverse=True)
    first = 0 if values[0] == -(2**40) else 1
    if len(values) + first > 1 << 16:
        raise ValueError(f"{len(values)} objects; at most {(1 << 16) - 1} can be painted")
    return ranks.reshape(ids.shape) + first


def _free_size(size):
    """The size at which a run of free sizes paints a map of this one: its own, halved while it is too large."""
    while size[0] * size[1] > MOST_PIXELS:
        size = [max(1, n // 2) for n in size]
    return size


def map_values(values: np.ndarray) -> dict[str, Any]:
    """A map as JSON values: size and little-endian uint16 ids in base64."""
    height, width = values.shape
    packed = base64.b64encode(np.ascontiguousarray(values, "<u2").tobytes()).decode()
    return {"height": height, "width": width, "ids": packed}
