"""From evidence, flags and dataset description to a complete Config."""

from semantic_synthesis.data import ClassTable, catalogue
from semantic_synthesis.data.resolving import fill_options, read_label_values
from semantic_synthesis.networks import DOUBLINGS

UNKNOWN_ID = 255


def describe_options(options):
    """The dataset's description."""
    return catalogue.describe(options.dataset_mode or catalogue.CUSTOM)


def complete_config(config, evidence, flags, description, options):
    """A Config without open questions.

    flags: {option of Config: value or None}; options: the ConvertOptions.
    Errors: ValueError where the files contradict flags or dataset, or where they leave a choice
    that only the user can make.
    """
    table = _known_table(description, options)
    _settle_edges(evidence, table, flags, description)
    flags = {name: value for name, value in flags.items() if value is not None and name != "checkpoint_dir"}
    sizes = fill_options(config.replace(**flags), description)
    _settle_depth(evidence, flags, sizes, table)
    evidence.check(flags)
    if evidence.value("use_vae") != (evidence.get("num_encoder_filters") is not None):
        generator = evidence.get("use_vae")
        fact = "takes a style vector" if generator.value else "takes no style vector"
        remedy = (
            "give its encoder with --encoder latest_net_E.pth" if generator.value else "leave --encoder out"
        )
        raise ValueError(f"{generator.path}: this generator {fact} ({generator.how}); {remedy}")
    settled = {"dataset_mode": options.dataset_mode or catalogue.CUSTOM}
    settled |= {name: value for name, value in evidence.options().items() if hasattr(config, name)}
    table = table or _numbered_table(evidence, description, options)
    config = config.replace(**{**flags, **settled})
    return fill_options(config, description).replace(class_table=table.to_dict())


def _known_table(description, options):
    if options.semantic_label_path:
        return ClassTable.create(description.name, read_label_values(options.semantic_label_path))
    return description.table


def _numbered_table(evidence, description, options):
    """Classes "class 0" ... of raw values 0 ...; with contain_dontcare_label the last has 255."""
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


def _settle_depth(evidence, flags, sizes, table):
    """Adds num_upsampling_layers, as far as tensors and size of the first features allow."""
    depths, path, how = evidence.get("depths")
    wanted, cells = flags.get("num_upsampling_layers"), evidence.get("cells")
    possible = [depth for depth in depths if not cells or _cells(sizes, depth) == cells.value]
    if wanted and wanted not in depths:
        raise ValueError(
            f"{path}: depth is {' or '.join(depths)} ({how}), but --num_upsampling_layers asks for {wanted}"
        )
    if not possible or (wanted and wanted not in possible):
        sizes_text = ", ".join(f"{depth} {_cells(sizes, depth)}" for depth in depths)
        raise ValueError(
            f"{path}: the first features have {cells.value} cells; pictures of "
            f"{sizes.crop_size}x{sizes.crop_height} would give {sizes_text}; give --crop_size, "
            "--aspect_ratio and --num_upsampling_layers of the training"
        )
    default = sizes.num_upsampling_layers if table is not None else None
    chosen = wanted or (possible[0] if len(possible) == 1 else default)
    if chosen not in possible:
        raise ValueError(
            f"{path}: depths {' and '.join(possible)} have the same tensors; say which with "
            "--num_upsampling_layers (NVlabs/SPADE's default: normal)"
        )
    evidence.add("num_upsampling_layers", chosen, path, how)


def _cells(sizes, depth):
    stride = 2 ** DOUBLINGS[depth]
    return (sizes.crop_height // stride) * (sizes.crop_size // stride)
