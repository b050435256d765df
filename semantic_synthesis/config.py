"""The only list of options: command-line flags and a run's config.json are generated from it.

Names follow the TensorFlow predecessor (MarAl15/SemanticImageSynthesis); options it did not have take
the name of NVlabs/SPADE. An option whose default is None is filled from the dataset's description
(`datasets/<dataset_mode>.json`) by `data.resolve`, so a saved config.json never holds an open question.
"""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from absl import flags

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIG_FILE = "config.json"


def option(default, text, choices=None, kind=None):
    """One option: its default, help text, allowed values and type (needed where default is None)."""
    return field(
        default=default,
        metadata={"help": text, "choices": choices, "kind": kind or type(default)},
    )


@dataclass(frozen=True)
class Config:
    """All options of one run. Sizes in pixels, frequencies in steps, rates per step."""

    method: str = option("spade", "Which paper's method to train.")
    # Data
    dataset_mode: str = option(
        "",
        "Name in datasets/<name>.json or a path to such a file; empty: custom with --image_dir, else scenes.",
    )
    dataroot: str = option("", "Root folder of a named dataset.")
    image_dir: str = option("", "Folder of photos (custom).")
    label_dir: str = option("", "Folder of label maps (custom), paired with the photos by file stem.")
    instance_dir: str = option("", "Folder of instance maps (custom).")
    semantic_label_path: str = option(
        "", "Text file with the raw label values, comma-separated; the i-th value becomes class i (custom)."
    )
    pairing_check: bool = option(True, "Check that photos and label maps pair by stem.")
    prob_dataset: float = option(1.0, "Share of the dataset drawn per epoch, in (0, 1].")
    max_dataset_size: int = option(0, "Use only the first N samples; 0 means all.")
    scenes_count: int = option(2000, "Number of rendered landscapes (dataset_mode scenes).")
    preprocess_mode: str = option(
        None,
        "How a sample gets its size before the crop.",
        choices=("resize_and_crop", "crop", "scale_width_and_crop", "scale_shortside_and_crop", "fixed"),
        kind=str,
    )
    img_height: int = option(None, "Height after the resize of resize_and_crop and scale_*.", kind=int)
    img_width: int = option(None, "Width after the resize of resize_and_crop and scale_*.", kind=int)
    crop_size: int = option(None, "Width of the training pictures.", kind=int)
    aspect_ratio: float = option(None, "Width / height of the training pictures.", kind=float)
    no_flip: bool = option(False, "Do not mirror samples at random.")
    no_instance: bool = option(
        None, "Use no instance maps: no instance edges, and INADE's regions are the classes.", kind=bool
    )
    # Generator, encoder, discriminator
    num_generator_filters: int = option(64, "Width of the generator's last block.")
    num_upsampling_layers: str = option(
        None, "Depth: 5, 6 or 7 doublings.", choices=("normal", "more", "most"), kind=str
    )
    num_hidden_filters: int = option(128, "Width of the hidden layer in every SPADE normaliser.")
    norm_G: str = option(
        "spectralspadesyncbatch3x3", "Generator normalisation: [spectral]spade<type><k>x<k>."
    )
    norm_E: str = option(
        "spectralinstance",
        "Encoder normalisation: spectral<none|batch|sync_batch|instance> (INADE: none or instance).",
    )
    norm_D: str = option("spectralinstance", "Discriminator normalisation, as norm_E.")
    class_positions: bool = option(False, "CLADE-ICPE: scale and shift also depend on the place in a region.")
    use_vae: bool = option(False, "Train an image encoder, which reads styles from photos.")
    z_dim: int = option(256, "Length of the style vector z.")
    prior_share: float = option(
        0.0, "Share of the samples that train with random styles, without a photo to match (use_vae)."
    )
    noise_dim: int = option(64, "Length of the noise of each instance, for scale and for shift (INADE).")
    num_encoder_filters: int = option(64, "Width of the encoder's first layer.")
    encoder_size: int = option(256, "Pictures are resized to this square for the encoder.")
    num_discriminators: int = option(2, "Number of discriminator scales.")
    num_discriminator_layers: int = option(4, "Layers of each discriminator.")
    num_discriminator_filters: int = option(64, "Width of the discriminators' first layer.")
    init_type: str = option(
        "xavier",
        "Kernel initialiser.",
        choices=("normal", "xavier", "xavier_uniform", "kaiming", "orthogonal", "none"),
    )
    init_variance: float = option(0.02, "Gain (standard deviation for normal) of the initialiser.")
    modulation: str = option(
        "auto",
        "How SPADE's scale and shift are computed: on distinct label patches, by dense convolutions, or by rule.",
        choices=("auto", "patches", "dense"),
    )
    # Losses
    gan_mode: str = option("hinge", "Adversarial loss.", choices=("hinge", "ls", "original", "w"))
    lambda_features: float = option(10.0, "Weight of feature matching.")
    no_feature_loss: bool = option(False, "Leave feature matching out.")
    feature_layers: str = option(
        None, "Feature matching on all layers (SPADE, CLADE) or the last before the judgement (INADE).",
        choices=("all", "deep"), kind=str,
    )  # fmt: skip
    vgg_layers: str = option(
        None, "VGG loss on all five taps (SPADE, CLADE) or the two deepest (INADE).",
        choices=("all", "deep"), kind=str,
    )  # fmt: skip
    lambda_vgg: float = option(
        None,
        "Weight of the VGG loss; default 0.06 for Keras weights, 10 for torchvision weights.",
        kind=float,
    )
    no_vgg_loss: bool = option(False, "Leave the VGG loss out.")
    vgg_weights: str = option(
        "imagenet", "imagenet (Keras downloads them), a file (Keras .h5 or torchvision .pth), or random."
    )
    lambda_kld: float = option(0.05, "Weight of the KL term (sum over z, mean over the batch).")
    # Optimisation
    batch_size: int = option(1, "Samples per step over all devices.")
    total_epochs: int = option(200, "Training length in epochs.")
    decay_epoch: int = option(100, "Epoch at which the linear decay of the learning rate starts.")
    total_steps: int = option(0, "Training length in steps; overrides total_epochs when positive.")
    lr: float = option(0.0002, "Base learning rate; TTUR trains G at half and D at twice this rate.")
    no_TTUR: bool = option(False, "Same learning rate for both networks, betas (0.5, 0.999).")
    beta1: float = option(None, "Adam beta1; default 0 (0.5 with no_TTUR).", kind=float)
    beta2: float = option(None, "Adam beta2; default 0.9 (0.999 with no_TTUR).", kind=float)
    D_steps_per_G: int = option(1, "Discriminator steps per generator step.")
    ema_decay: float = option(0.0, "Decay per step of averaged generator weights; 0 keeps none.")
    precision: str = option("float32", "Arithmetic of the networks.", choices=("float32", "bfloat16"))
    distribute: str = option(
        "mirrored",
        "Device strategy; multi_worker reads TF_CONFIG.",
        choices=("none", "mirrored", "multi_worker"),
    )
    seed: int = option(0, "Seed of initial weights, sample order, augmentation and styles.")
    # Evaluation during training
    train_eval: bool = option(False, "Score held-out layouts during training and keep the best run in best/.")
    eval_epoch_freq: int = option(10, "Epochs between evaluations.")
    eval_metrics: str = option("", "Comma list of fid, kid, miou, judge; empty: miou,judge for scenes.")
    eval_images: int = option(500, "Held-out layouts per evaluation.")
    # Files
    checkpoint_dir: str = option("", "Run folder; default checkpoints/<method>_<dataset_mode>.")
    log_dir: str = option("", "TensorBoard folder; default <checkpoint_dir>/logs.")
    results_dir: str = option("", "Sample pictures during training; default <checkpoint_dir>/samples.")
    print_info_freq: int = option(10, "Steps between scalar summaries.")
    save_img_freq: int = option(100, "Steps between sample pictures.")
    save_model_freq: int = option(100, "Steps between checkpoints.")
    # Filled by data.resolve, never a flag
    class_table: dict = field(default=None, metadata={"flag": False})

    @property
    def crop_height(self):
        """Height of the training pictures in pixels (Python's rounding, as NVlabs/SPADE)."""
        return round(self.crop_size / self.aspect_ratio)

    @property
    def log_folder(self):
        """Where TensorBoard's files go."""
        return self.log_dir or os.path.join(self.checkpoint_dir, "logs")

    @property
    def results_folder(self):
        """Where sample pictures go."""
        return self.results_dir or os.path.join(self.checkpoint_dir, "samples")

    @property
    def num_classes(self):
        """C: classes, counting "unknown" where the dataset has it."""
        return len(self.class_table["names"])

    def replace(self, **changes):
        """A copy with some options changed."""
        return dataclasses.replace(self, **changes)

    def save(self, run_dir):
        """Writes config.json into the run folder, whole or not at all."""
        os.makedirs(run_dir, exist_ok=True)
        path = os.path.join(run_dir, CONFIG_FILE)
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(self), file, indent=1)
            file.write("\n")
        os.replace(path + ".part", path)

    @classmethod
    def load(cls, run_dir):
        """Reads a run's config.json.

        Errors: FileNotFoundError if the folder holds none, ValueError if it is damaged or holds options
        this version does not know.
        """
        path = os.path.join(run_dir, CONFIG_FILE)
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"{run_dir}: no {CONFIG_FILE} here; expected a run folder made by train.py or convert"
            )
        try:
            with open(path, encoding="utf-8") as file:
                values = json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path}: not valid JSON ({error}); restore the file or retrain the run"
            ) from None
        return cls.from_dict(values, path).replace(checkpoint_dir=str(run_dir))  # runs may be moved

    @classmethod
    def from_dict(cls, values, source="config"):
        """A checked Config from a dict; `source` names the origin in error messages."""
        if not isinstance(values, dict):
            raise ValueError(f"{source}: expected a JSON object of options, found {type(values).__name__}")
        known = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"{source}: unknown options {', '.join(unknown)}; made by another version?")
        for name, value in values.items():
            _check_type(known[name], value, source)
        return cls(**values)


@dataclass(frozen=True)
class OneOptions:
    """Options of test_one.py; the run knows all others."""

    checkpoint_dir: str = option(str(REPOSITORY / "checkpoints" / "demo_spade"), "Run folder.")
    label_filename: str = option(
        str(REPOSITORY / "datasets" / "scenes" / "lake_label.png"), "Label map: index, palette or RGB PNG."
    )
    instance_filename: str = option("", "Instance map, for runs trained with one.")
    style_filename: str = option(
        "", "Photo whose style the picture takes (INADE: of the same layout); empty: random styles."
    )
    restyle: tuple = option(
        (), "REGION=SOURCE[@SHARE], may be repeated (INADE): all, class:NAME or instance:ID takes its style from "
        "seed:N, PHOTO or PHOTO,LABELMAP; @0.5 goes half the way.",
    )  # fmt: skip
    results_dir: str = option("results", "Where the pictures go.")
    seed: int = option(0, "Seed of the first random style.")
    num_samples: int = option(1, "Number of random styles, seeds seed, seed + 1, ...")
    output_height: int = option(0, "Height of the picture in pixels; 0: that of the label map.")
    output_width: int = option(0, "Width of the picture in pixels; 0: that of the label map.")
    precision: str = option("float32", "Arithmetic of the network.", choices=("float32", "bfloat16"))


@dataclass(frozen=True)
class ExportOptions:
    """Options of export.py; the run knows all others."""

    checkpoint_dir: str = option(str(REPOSITORY / "checkpoints" / "demo_spade"), "Run folder.")
    export_dir: str = option("exports", "The model goes to <export_dir>/<model_name>/<version>/.")
    model_name: str = option("", "Name of the model in TF Serving; empty: the run folder's name.")
    version: int = option(0, "Version number; 0: one more than the largest there.")
    output_height: int = option(
        0, "Height of the pictures in pixels; 0: the run's, or free where the run allows."
    )
    output_width: int = option(
        0, "Width of the pictures in pixels; 0: the run's, or free where the run allows."
    )
    precision: str = option("float32", "Arithmetic of the network.", choices=("float32", "bfloat16"))
    modulation: str = option(
        None, "As in training; default as the run says.", choices=("auto", "patches", "dense"), kind=str
    )
    label_dtype: str = option(
        None, "Type of label ids; default uint8 up to 256 classes.", choices=("uint8", "int32"), kind=str
    )
    batch_rows: bool = option(
        False,
        "Compute the rows of a request together: faster on GPUs; pixels may differ by 1 between batch sizes.",
    )


@dataclass(frozen=True)
class ServeOptions:
    """Options of `python -m semantic_synthesis serve`."""

    export_dir: str = option("exports", "Folder that export.py wrote: <export_dir>/<model name>/<version>/.")
    host: str = option("127.0.0.1", "Address to listen on; the default is reachable from this machine only.")
    rest_api_port: int = option(8501, "Port; 0 takes a free one.")
    max_body_mb: float = option(32.0, "Largest request body in MB; larger ones are answered 413.")
    max_queue: int = option(64, "Requests in the house, running or waiting; more are answered 429.")
    num_threads: int = option(2, "Requests computed at the same time.")
    drain_s: float = option(60.0, "Seconds that running requests get after SIGTERM.")


def _check_type(option, value, source):
    """Raises ValueError unless value suits the option's kind and choices."""
    if not option.metadata.get("flag", True) or (value is None and option.default is None):
        return
    kind, choices = option.metadata["kind"], option.metadata["choices"]
    right = (
        isinstance(value, bool) if kind is bool else isinstance(value, kind) and not isinstance(value, bool)
    )
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        right = True
    if not right:
        raise ValueError(f"{source}: {option.name} is {value!r}; expected {kind.__name__}")
    if choices and value not in choices:
        raise ValueError(f"{source}: {option.name} is {value!r}; expected one of {', '.join(choices)}")


def define_flags(options, **defaults):
    """Defines one absl flag per option of a dataclass; `defaults` replace the dataclass defaults."""
    for option in dataclasses.fields(options):
        if not option.metadata.get("flag", True):
            continue
        kind, choices = option.metadata["kind"], option.metadata["choices"]
        default = defaults.get(option.name, option.default)
        text = option.metadata["help"]
        if choices:
            flags.DEFINE_enum(option.name, default, choices, text)
        elif kind is bool:
            flags.DEFINE_boolean(option.name, default, text)
        elif kind is tuple:
            flags.DEFINE_multi_string(option.name, list(default), text)
        else:
            define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}[kind]
            define(option.name, default, text, allow_override=True)  # absl.logging owns a log_dir


def given_flags(options):
    """{name: value} of the flags of a dataclass that the command line really set."""
    values = flags.FLAGS
    names = [f.name for f in dataclasses.fields(options) if f.metadata.get("flag", True)]
    return {name: values[name].value for name in names if values[name].present}


def from_flags(options):
    """The dataclass filled from the parsed command line."""
    names = [f.name for f in dataclasses.fields(options) if f.metadata.get("flag", True)]
    return options(**{name: flags.FLAGS[name].value for name in names})


# What a resumed run may change; all else is part of what was trained and of the order of its batches.
CHANGEABLE = frozenset(
    [
        "dataroot",
        "image_dir",
        "label_dir",
        "instance_dir",
        "total_epochs",
        "decay_epoch",
        "total_steps",
        "lr",
        "distribute",
        "precision",
        "modulation",
        "log_dir",
        "results_dir",
        "print_info_freq",
        "save_img_freq",
        "save_model_freq",
        "checkpoint_dir",
        "pairing_check",
        "vgg_weights",
    ]
)

# What weights.npz depends on; a fine-tuning that starts from it may change all else.
ARCHITECTURE = frozenset(
    [
        "method",
        "dataset_mode",
        "semantic_label_path",
        "crop_size",
        "aspect_ratio",
        "no_instance",
        "num_generator_filters",
        "num_upsampling_layers",
        "num_hidden_filters",
        "norm_G",
        "norm_E",
        "norm_D",
        "class_positions",
        "use_vae",
        "z_dim",
        "noise_dim",
        "num_encoder_filters",
        "encoder_size",
        "num_discriminators",
        "num_discriminator_layers",
        "num_discriminator_filters",
    ]
)


def training_config(asked, given, resolve):
    """The Config to train with: a fresh one resolved, or that of the run in checkpoint_dir.

    asked: Config from the flags; given: {name: value} of the flags really set; resolve: data.resolve.
    Errors: ValueError if given flags contradict the run.
    """
    mode = Path(asked.dataset_mode or ("custom" if asked.image_dir else "scenes")).stem
    run_dir = asked.checkpoint_dir or str(REPOSITORY / "checkpoints" / f"{asked.method}_{mode}")
    if os.path.exists(os.path.join(run_dir, CONFIG_FILE)):
        stored = Config.load(run_dir)
        changes = {name: value for name, value in given.items() if value != getattr(stored, name)}
        fixed = sorted(set(changes) - CHANGEABLE)
        begun = any(Path(run_dir).glob("ckpt-*.index"))
        if not begun:  # a converted or shipped run that training starts from: only the networks are given
            fixed = [name for name in fixed if name in ARCHITECTURE]
        if fixed:
            name = fixed[0]
            raise ValueError(
                f"{run_dir}: this run was started with --{name} {getattr(stored, name)}, asked for now: "
                f"{changes[name]}; leave the flag out to resume, or choose another --checkpoint_dir"
            )
        config = stored.replace(**changes)
    else:
        config = resolve(asked)
    return config.replace(checkpoint_dir=run_dir)
