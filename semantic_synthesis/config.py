"""Config: the options that every run has. Each method adds its own (`Method.config_class`).

Names follow the TensorFlow predecessor (MarAl15/SemanticImageSynthesis); options it did not have take
the name of NVlabs/SPADE. An option with a fallback is filled from the dataset's description
(`datasets/<dataset_mode>.json`) by `data.resolve`, so what a saved config.json says about the data is complete.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_synthesis import storage
from semantic_synthesis.files import read_json, write_json
from semantic_synthesis.options import Use, check_type, option, options_of

if TYPE_CHECKING:
    from typing_extensions import Self

CONFIG_FILE = "config.json"

_data = functools.partial(option, group="Data")
_optimisation = functools.partial(option, group="Optimisation", role="training")
_evaluation = functools.partial(option, group="Evaluation during training")
_files = functools.partial(option, group="Files")

_PLACES = ("_dir", "dataroot", "semantic_label_path", "init_from")  # ends of names


def is_place(name: str) -> bool:
    """Whether an option names a file or folder of the machine that trains."""
    return name.endswith(_PLACES)


def without_folder(value: Any) -> Any:
    """An absolute path, or one with a scheme, as the file's name; other values as they are."""
    is_path = isinstance(value, str) and (os.path.isabs(value) or storage.is_remote(value))
    return os.path.basename(value) if is_path else value


@dataclass(frozen=True)
class Config:
    """What every run has. Sizes in pixels, frequencies in steps, rates per step.

    A subclass per method adds options and redeclares defaults (`options.redeclared`), `method` among them:
    that value is how `class_for` finds it.
    """

    method: str = _data("", "Which paper's method to train.", role="network")
    dataset_mode: str = _data(
        "",
        "Name in datasets/<name>.json or a path to such a file; empty: custom with --image_dir, else scenes.",
        role="network",
    )
    dataroot: str = _data("", "Root folder of a named dataset.")
    image_dir: str = _data("", "Folder of photos (custom).")
    label_dir: str = _data("", "Folder of label maps (custom), paired with the photos by file stem.")
    instance_dir: str = _data("", "Folder of instance maps (custom).")
    disparity_dir: str = _data(
        "", "Folder of disparity maps (larger is closer, 0 unknown), for methods that train with them."
    )
    semantic_label_path: str = _data(
        "",
        "Text file with the raw label values, comma-separated; the i-th value becomes class i; or CVAT's labelmap.txt "
        "(custom).",
        role="network",
    )
    pairing_check: bool = _data(True, "Check that photos and label maps pair by stem.")
    prob_dataset: float = _data(1.0, "Share of the dataset drawn per epoch, in (0, 1].", role="training")
    max_dataset_size: int = _data(0, "Use only the first N samples; 0 means all.", role="training")
    scenes_count: int = _data(2000, "Number of rendered landscapes (dataset_mode scenes).", role="training")
    rarity_dir: str = _data(
        "",
        "Folder of rarity files (GTA5: those of conditional IMLE): training draws samples by the rarity of their "
        "colours, and the VGG loss counts rare pixels more.",
        role="training",
    )
    preprocess_mode: str = _data(
        None,
        "How a sample gets its size before the crop.",
        choices=("resize_and_crop", "crop", "scale_width_and_crop", "scale_shortside_and_crop", "fixed"),
        kind=str,
        role="training",
        fallback="resize_and_crop",
    )
    img_height: int = _data(
        None, "Height after the resize of resize_and_crop and scale_*.", kind=int, role="training"
    )
    img_width: int = _data(
        None, "Width after the resize of resize_and_crop and scale_*.", kind=int, role="training"
    )
    crop_size: int = _data(None, "Width of the training pictures.", kind=int, role="network", fallback=256)
    aspect_ratio: float = _data(
        None, "Width / height of the training pictures.", kind=float, role="network", fallback=1.0
    )
    no_flip: bool = _data(False, "Do not mirror samples at random.", role="training")
    no_instance: bool = _data(
        None,
        "Use no instance maps: no instance edges, and regions are the classes.",
        kind=bool,
        role="network",
        fallback=True,
    )
    instance_none_id: int = _data(
        None,
        "Value in instance maps that means no object, as 0 does where the run paints; default: the dataset's, for "
        "folders of your own 0.",
        kind=int,
        role="network",
    )
    # Optimisation
    batch_size: int = _optimisation(1, "Samples per step over all devices.")
    gradient_accumulation: int = _optimisation(
        1,
        "Parts of a batch that are computed one after the other and whose gradients are added up; batch statistics are "
        "those of a part.",
        least=1,
        resume=True,
    )
    total_epochs: int = _optimisation(200, "Training length in epochs.", resume=True, least=0)
    decay_epoch: int = _optimisation(
        100, "Epoch at which the linear decay of the learning rate starts.", resume=True
    )
    total_steps: int = _optimisation(
        0, "Training length in steps; overrides total_epochs when positive.", resume=True, least=0
    )
    lr: float = _optimisation(0.0002, "Base learning rate.", resume=True)
    ema_decay: float = _optimisation(0.0, "Decay per step of averaged weights; 0 keeps none.")
    recalibration_batches: int = _optimisation(
        20,
        "Batches over which the batch statistics of averaged weights are measured before they are saved or scored; "
        "0: averages of the running ones, which short trainings leave near their start.",
        resume=True,
        least=0,
    )
    precision: str = _optimisation(
        "float32", "Arithmetic of the networks.", choices=("float32", "bfloat16"), role="run"
    )
    convolutions: str = _optimisation(
        "auto",
        "How wide 3x3 convolutions are computed: by Winograd's algorithm where that is faster, or directly.",
        choices=("auto", "direct"),
        role="run",
    )
    distribute: str = _optimisation(
        "mirrored",
        "Device strategy; multi_worker reads TF_CONFIG.",
        choices=("none", "mirrored", "multi_worker"),
        role="run",
    )
    seed: int = _optimisation(0, "Seed of initial weights, sample order, augmentation and styles.", least=0)
    # Evaluation during training
    train_eval: bool = _evaluation(
        False, "Score held-out layouts during training and keep the best run in best/."
    )
    eval_epoch_freq: int = _evaluation(10, "Epochs between evaluations.", least=1)
    eval_metrics: str = _evaluation(
        "",
        "Comma list of fid, kid, miou, judge; the first decides what best/ keeps. Empty: miou,judge for scenes.",
    )
    eval_images: int = _evaluation(500, "Held-out layouts per evaluation; 0: all.", least=0)
    # Files
    checkpoint_dir: str = _files("", "Run folder; default checkpoints/<method>_<dataset_mode>.")
    init_from: str = _files(
        "",
        "Run folder whose weights a new run starts from: those of the same names and shapes; others, as of other "
        "classes, start fresh.",
        resume=False,
    )
    log_dir: str = _files("", "TensorBoard folder; default <checkpoint_dir>/logs.")
    results_dir: str = _files("", "Sample pictures during training; default <checkpoint_dir>/samples.")
    profile_steps: str = _files(
        "", "A-B: record these steps for TensorBoard's profiler (pip install tensorboard-plugin-profile)."
    )
    print_info_freq: int = _files(10, "Steps between scalar summaries.", least=1)
    save_img_freq: int = _files(100, "Steps between sample pictures.", least=1)
    save_model_freq: int = _files(100, "Steps between checkpoints.", least=1)
    # Filled by data.resolve, never a flag
    class_table: Any = field(default=None, metadata={"flag": False})

    @property
    def crop_height(self) -> int:
        """Height of the training pictures in pixels (Python's rounding, as NVlabs/SPADE)."""
        return round(self.crop_size / self.aspect_ratio)

    @property
    def log_folder(self) -> str:
        """Where TensorBoard's files go."""
        return self.log_dir or os.path.join(self.checkpoint_dir, "logs")

    @property
    def results_folder(self) -> str:
        """Where sample pictures go."""
        return self.results_dir or os.path.join(self.checkpoint_dir, "samples")

    @property
    def num_classes(self) -> int:
        """C: classes, counting "unknown" where the dataset has it."""
        return len(self.class_table["names"])

    def uses(self) -> list[Use]:
        """When options of a complete config have an effect; a subclass adds those of its own."""
        mode = self.preprocess_mode
        loads = f"of no effect with --preprocess_mode {mode}"
        return [
            Use("img_width", mode not in ("fixed", "crop"), loads),
            Use("img_height", mode not in ("fixed", "crop", "scale_width_and_crop"), loads),
            Use("instance_dir", not self.no_instance, "of no effect with --no_instance"),
            Use(
                "recalibration_batches", self.ema_decay, "of no effect without averaged weights (--ema_decay)"
            ),
        ]

    def replace(self, **changes: Any) -> Self:
        """A copy with some options changed."""
        return dataclasses.replace(self, **changes)

    def filled(self, values: Mapping[str, Any]) -> Self:
        """A copy with those of {option: value} whose option this method has and that is still open (None)."""
        known = options_of(self)
        return self.replace(**{k: v for k, v in values.items() if k in known and getattr(self, k) is None})

    def save(self, run_dir: str | Path) -> None:
        """Writes config.json into the run folder, whole or not at all."""
        write_json(os.path.join(run_dir, CONFIG_FILE), dataclasses.asdict(self))

    @staticmethod
    def class_for(method: str, source: str = "--method") -> type[Config]:
        """The Config class of a method's name; ValueError that lists the known ones."""
        classes = {c.method: c for c in config_classes()}
        if method not in classes:
            names = ", ".join(sorted(classes))
            raise ValueError(
                f"{source} {method}: unknown; expected one of {names} (a method of another package: is the package "
                "installed?)"
            )
        return classes[method]

    @classmethod
    def load(cls, run_dir: str | Path) -> Config:
        """Reads a run's config.json; the result is of its method's class.

        Errors: FileNotFoundError if the folder holds none, ValueError if it is damaged or holds options
        this version does not know.
        """
        path = os.path.join(run_dir, CONFIG_FILE)
        if not storage.is_file(path):
            raise FileNotFoundError(
                f"{run_dir}: no {CONFIG_FILE} here; expected a run folder made by train.py or convert"
            )
        values = read_json(path, "restore the file or retrain the run")
        if not isinstance(values, dict):
            raise ValueError(f"{path}: expected a JSON object of options, found {type(values).__name__}")
        values.setdefault("recalibration_batches", 0)  # runs from before there was a choice
        its = Config.class_for(str(values.get("method")), f"{path}: method")
        config = its.from_dict(values, path)
        still_open = [n for n, o in options_of(its).items() if o.metadata["fallback"] is not None]
        for name in still_open:
            if getattr(config, name) is None:
                raise ValueError(f"{path}: {name} is null; restore the file or retrain the run")
        return config.replace(checkpoint_dir=str(run_dir))  # runs may be moved

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "config") -> Self:
        """A checked Config of this class from a dict; `source` names the origin in error messages.

        Options of other methods are left out: they never had an effect, but older files hold them. null stands for
        the default.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{source}: expected a JSON object of options, found {type(values).__name__}")
        own = options_of(cls)
        unknown = sorted(set(values) - set(own) - set(known_options()) - {"class_table"})
        if unknown:
            raise ValueError(f"{source}: unknown options {', '.join(unknown)}; made by another version?")
        kept = {n: v for n, v in values.items() if n == "class_table" or (n in own and v is not None)}
        for name, value in kept.items():
            if name in own:
                check_type(own[name], value, source)
        return cls(**kept)


def config_classes() -> list[type[Config]]:
    """The Config class of every method that has been imported, in the order of their definition."""
    found, waiting = [], [Config]
    while waiting:
        one = waiting.pop(0)
        if one.method:
            found.append(one)
        waiting.extend(one.__subclasses__())
    return found


def known_options() -> dict[str, list[str]]:
    """{option: names of the methods that have it}; of the options of all methods."""
    found = {}
    for one in config_classes():
        for name in options_of(one):
            found.setdefault(name, []).append(one.method)
    return found


def method_options(config_class: type[Config]) -> dict[str, dataclasses.Field]:
    """{name: field} of the options that a method adds to those every run has."""
    return {name: one for name, one in options_of(config_class).items() if name not in options_of(Config)}


def options_for(method: str, given: Mapping[str, Any], source: str = "") -> type[Config]:
    """The Config class of a method, after a check that it has every given option and allows its value.

    given: {name: value} of flags; ValueError that names the owner of a foreign one.
    """
    its = Config.class_for(method)
    own, known = options_of(its), known_options()
    for name, value in given.items():
        if name not in own:
            owners = known[name]
            raise ValueError(
                f"--{name}: an option of {', '.join(owner.upper() for owner in owners)} "
                f"(--method {'|'.join(owners)}), which {method} does not have; leave it out"
            )
        check_type(own[name], value, f"{source}--{name}")
    return its
