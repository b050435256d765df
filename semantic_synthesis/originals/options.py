"""From evidence, flags and dataset description to a complete Config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from semantic_synthesis.data import ClassTable, catalogue
from semantic_synthesis.data.class_lists import read_class_list
from semantic_synthesis.data.resolving import fill_options
from semantic_synthesis.options import options_of

if TYPE_CHECKING:
    from semantic_synthesis.config import Config
    from semantic_synthesis.data.catalogue import Description
    from semantic_synthesis.originals.evidence import Evidence

UNKNOWN_ID = 255


def describe_options(options: Any) -> Description:
    """The dataset's description."""
    return catalogue.describe(options.dataset_mode or catalogue.CUSTOM)


def complete_config(
    config: Config,
    evidence: Evidence,
    flags: Mapping[str, Any],
    description: Description,
    options: Any,
    settle: Callable[..., None],
) -> Config:
    """A Config without open questions.

    config: of the method's class; flags: {its option: value or None}; options: the ConvertOptions;
    settle(evidence, flags, sizes, known): the method's own conclusions, given its Config with the sizes filled in
    and whether the dataset is a known one (a class list alone says nothing of sizes).
    Errors: ValueError where the files contradict flags or dataset, or where they leave a choice
    that only the user can make.
    """
    table = _known_table(description, options)
    if evidence.get("semantic_channels"):
        _settle_edges(evidence, table, flags, description)
    classes = evidence.get("num_classes")
    if classes and table is not None and classes.value != table.num_classes:
        raise ValueError(
            f"{classes.path}: {classes.value} classes ({classes.how}); {description.name} has {table.num_classes}; "
            "check --dataset_mode"
        )
    flags = {name: value for name, value in flags.items() if value is not None and name != "checkpoint_dir"}
    sizes = fill_options(config.replace(**flags), description)
    settle(evidence, flags, sizes, description.table is not None)
    evidence.check(flags)
    settled = {"dataset_mode": options.dataset_mode or catalogue.CUSTOM}
    settled |= {name: value for name, value in evidence.options().items() if name in options_of(config)}
    table = table or _numbered_table(evidence, description, options)
    if options.unknown_last:
        table = table.with_unknown_last()
    config = config.replace(**{**flags, **settled})
    return fill_options(config, description).replace(class_table=table.to_dict())


def known_classes(description: Description, options: Any) -> int | None:
    """C of the dataset, None where it is not known."""
    table = _known_table(description, options)
    return None if table is None else table.num_classes


def _known_table(description, options):
    table, source = description.table, description.name
    if options.semantic_label_path:
        source = options.semantic_label_path
        table = read_class_list(source, description.name)
    if options.contain_dontcare_label and table is not None and table.unknown is None:
        raise ValueError(
            f"--contain_dontcare_label: {source} says what the {table.num_classes} classes are, none of which is the "
            "unknown one; leave the flag out, and give a list or description with all classes of the original"
        )
    return table


def _numbered_table(evidence, description, options):
    """Classes "class 0" ... of raw values 0 ...; with contain_dontcare_label the last has 255."""
    count = evidence.value("num_classes")
    if count is None:
        count = evidence.value("semantic_channels") - (not evidence.value("no_instance"))
    ids, names = list(range(count)), [None] * count
    if options.contain_dontcare_label:
        ids[-1], names[-1] = UNKNOWN_ID, "unknown"
    unknown = count - 1 if options.contain_dontcare_label else None
    return ClassTable.create(description.name, ids, names, unknown=unknown)


def _settle_edges(evidence, table, flags, description):
    """Adds no_instance: the semantic channels are the classes, and one more for instance edges."""
    channels, path, _ = evidence.get("semantic_channels")
    if table is None:
        if evidence.get("no_instance"):
            return
        if flags["no_instance"] is None:
            raise ValueError(
                f"{path}: {channels} semantic channels are {channels} classes, or {channels - 1} "
                "and the instance edges; say which: --no_instance or --no_instance=false"
            )
        evidence.add("no_instance", flags["no_instance"], path, "as asked")
        return
    if channels - table.num_classes not in (0, 1):
        raise ValueError(
            f"{path}: {channels} semantic channels; expected {table.num_classes} "
            f"({description.name} without instance edges) or {table.num_classes + 1} "
            "(with them); check --dataset_mode"
        )
    how = f"{channels} semantic channels for the {table.num_classes} classes of {description.name}"
    evidence.add("no_instance", channels == table.num_classes, path, how)
