"""Files -> batches: datasets described as data, pairing, decoding, validation, geometry, scenes."""

from .decoding import check_upright, read_bytes, read_image, read_instance, read_label
from .errors import DataError, user_error
from .geometry import fit_image, fit_label, pad_map
from .graph_decoding import decode_label_png
from .instances import regions
from .layouts import read_layout
from .pipeline import Dataset, open_dataset
from .resolving import resolve
from .tables import ClassTable

__all__ = [
    "ClassTable",
    "DataError",
    "Dataset",
    "check_upright",
    "decode_label_png",
    "fit_image",
    "fit_label",
    "open_dataset",
    "pad_map",
    "read_bytes",
    "read_image",
    "read_instance",
    "read_label",
    "read_layout",
    "regions",
    "resolve",
    "user_error",
]
