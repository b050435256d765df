"""From a run's options to its memory: where it lies, whether it fits, and whether it is still the same."""

from __future__ import annotations

import os

from absl import logging

from semantic_synthesis import storage
from semantic_synthesis.files import read_json, write_json
from semantic_synthesis.methods.sims.bank import (
    INDEX,
    SEGMENTS,
    Bank,
    BankArrays,
    digest,
    empty_arrays,
    read_index,
)
from semantic_synthesis.methods.sims.building import build_bank, description_of
from semantic_synthesis.methods.sims.config import NO_BANK, SIMSConfig
from semantic_synthesis.methods.sims.parts import short

RECORD = "bank.json"


def open_bank(config: SIMSConfig, training: bool) -> tuple[Bank, list[float] | None]:
    """(Bank, mean shares of the picture of the segments of each class or None) of a run.

    Looks in --bank_dir, where the run's bank.json says, and in <run folder>/bank, for pictures also where the run
    looks whose best/ this is; training makes one in <run folder>/bank if there is none. Errors: FileNotFoundError or
    ValueError, one line, for a memory that is missing, changed, or not the network's.
    """
    wanted = description_of(config)
    count = len(wanted["classes"])
    if config.bank_dir == NO_BANK:
        return Bank(empty_arrays(wanted["base"]), [], wanted["size"], wanted["base"], count), None
    record = _record(config.checkpoint_dir)
    place = _find(config.bank_dir, record, config.checkpoint_dir)
    if place is None and not training and config.checkpoint_dir:
        above = os.path.dirname(storage.absolute(config.checkpoint_dir))
        outer = _record(above)
        if outer and (place := _find("", outer, above)):
            record = outer
    if place is None:
        place = os.path.join(config.checkpoint_dir, "bank")
        if not training:
            asked = config.bank_dir or (record or {}).get("path") or place
            raise FileNotFoundError(f"{asked}: the run's memory is not here; put it back, or into {place}")
        logging.info("%s: making the memory from the training set", place)
        build_bank(config, place)
    index, folder = read_index(place), storage.kept_here(place)
    _check(folder, index, wanted, record, place)
    if training and record is None:
        _write_record(config.checkpoint_dir, place, index)
    arrays, photos = BankArrays.load(os.path.join(folder, SEGMENTS)), index["photos"]
    if config.bank_images:
        photos = photos[: config.bank_images]
        arrays = arrays.limited(len(photos))
    paths = [os.path.join(os.path.abspath(folder), photo) for photo in photos]
    bank = Bank(arrays, paths, wanted["size"], wanted["base"], count)
    files = sum(os.path.getsize(path) for path in paths)
    logging.info(
        "%s: %d segments of %d photos, %.1f MB and %.1f MB of photos",
        place,
        len(arrays.kind),
        len(photos),
        bank.bytes / 1e6,
        files / 1e6,
    )
    return bank, [float("nan") if share is None else share for share in index["shares"]]


def files_of(bank: Bank) -> dict[str, str]:
    """{path within a run folder: file} of all that opening a memory reads: what a resumed build needs is left out."""
    folder = os.path.dirname(os.path.dirname(bank.paths[0]))
    names = [INDEX, SEGMENTS, *read_index(folder)["photos"]]
    return {f"bank/{name}": os.path.join(folder, name) for name in names}


def _record(run_dir):
    path = os.path.join(run_dir, RECORD)
    if not run_dir or not storage.is_file(path):
        return None
    found = read_json(path, "delete it to take the memory as it is")
    try:
        return {key: found[key] for key in ("path", "photos", "sha256")}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not readable ({error!r}); delete it to take the memory as it is") from None


def _write_record(run_dir, folder, index):
    found = {"path": storage.absolute(folder), "photos": len(index["photos"]), "sha256": index["sha256"]}
    write_json(os.path.join(run_dir, RECORD), found)


def _find(asked, record, run_dir):
    """The first folder with a memory, None without any."""
    places = [asked, (record or {}).get("path"), os.path.join(run_dir, "bank")]
    for place in filter(None, places):
        if storage.is_file(os.path.join(place, INDEX)):
            return place
    return None


def _check(folder, index, wanted, record, place):
    """folder: where the memory lies here; place: where it comes from, for messages."""
    for key, value in wanted.items():
        if index[key] != value:
            raise ValueError(
                f"{place}: a memory of other {key} ({short(index[key])}, the run has {short(value)}); make one "
                "with the run's options"
            )
    missing = [p for p in index["photos"] if not os.path.isfile(os.path.join(folder, p))]
    if missing:
        raise FileNotFoundError(
            f"{os.path.join(place, missing[0])}: missing ({len(missing)} photos); run prepare bank again"
        )
    if digest(folder, index["photos"]) != index["sha256"]:
        raise ValueError(f"{place}: changed since it was made; run prepare bank again")
    if record is not None and record["sha256"] != index["sha256"]:
        raise ValueError(
            f"{place}: not the memory that this run was trained with ({len(index['photos'])} photos, then "
            f"{record['photos']}); put that one back, or delete {RECORD} in the run folder to take this one"
        )
