"""The options of SIMS; shares are of the picture's height or area, as the original's pixels were at 256x512."""

import functools
from dataclasses import dataclass

from semantic_synthesis.config import Config
from semantic_synthesis.options import Use, option, redeclared

NO_BANK = "none"

_networks = functools.partial(option, group="Networks of SIMS", role="network")
_memory = functools.partial(option, group="Memory of SIMS", role="training", resume=True)
_canvas = functools.partial(option, group="Canvas of SIMS", role="training", resume=True)
_losses = functools.partial(option, group="Losses", role="training")


@dataclass(frozen=True)
class SIMSConfig(Config):
    """Options of SIMS."""

    method: str = redeclared(Config, "method", "sims")
    lr: float = option(
        1e-4,
        "Rate of the synthesis network after its ramp; those of the others go with it (1e-5 at 1e-4).",
        role="training",
        resume=True,
        group="Optimisation",
    )
    scale: int = _networks(
        1,
        "Picture over the layout that segments, order and the trunks work on: 1, 2 (512 rows) or 4 (1024 rows).",
    )
    num_filters: int = _networks(64, "Width of the first stack of all three networks.")
    use_transformation: bool = _networks(
        True, "Have a transformation network; else segments stay where they are."
    )
    transformation_view: str = _networks(
        "picture",
        "What the transformation network looks at and learns from: picture, the whole of it and its colours (as "
        "published); box, each segment from close and how it was moved.",
        choices=("picture", "box"),
    )
    use_order: bool = _networks(
        None,
        "Have an order network; else classes lie in their coarse order. It needs depth to be trained.",
        kind=bool,
        fallback=False,
    )
    order_pooling: str = _networks(
        "all",
        "What the order network's classifier sees: all cells, or the original's windows of 8x12.",
        choices=("all", "windows"),
    )
    class_groups: str = _networks(
        None,
        "Which classes lie behind, are thin, ...: 'order: sky, road; thin: pole; ...' (docs/methods/sims.md).",
        kind=str,
        fallback="",
    )
    legacy: bool = _networks(False, "Do everything as the original's code does, its mistakes included.")
    # Memory
    bank_dir: str = option(
        None,
        "Folder of the memory (prepare bank), or none; empty: <checkpoint_dir>/bank, made from the dataset.",
        kind=str,
        role="network",
        resume=True,
        group="Memory of SIMS",
        fallback="",
    )
    bank_images: int = _memory(0, "Use only the first N photos of the memory; 0 means all.")
    segment_area: float = _memory(
        1000 / 2**17, "Share of the picture above which a segment gets a candidate."
    )
    candidates: int = _memory(10, "Segments of the memory that each segment can choose from.")
    shortlist: int = _memory(
        256, "Least number of segments that are compared exactly; more where classes are large."
    )
    context_weight: float = _memory(1.0, "Weight of the surroundings' similarity against the shape's.")
    # Canvas
    elision: float = _canvas(0.035, "Width of the rim of segments that is partly given to the network.")
    trimming: float = _canvas(0.04, "Width that the rims of trimmed classes lose.")
    shadow: float = _canvas(0.06, "Width around what throws shadows that the ground loses.")
    outer_elision: float = _canvas(0.08, "Width around objects that the ground loses.")
    training_elision: float = _canvas(0.05, "Width of the rims in training canvases.")
    elision_share: float = _canvas(0.5, "Share of a rim's pixels that is given to the network.")
    extension: float = _canvas(0.125, "Share of an object's box by which its surroundings are wider.")
    round_theta: bool = _canvas(
        None, "Move segments by whole pixels alone, which do not blur.", kind=bool, fallback=True
    )
    # Losses
    stencil_draws: int = _losses(
        100, "Photos of the memory that a training segment's stencil is looked for in."
    )
    recolor_share: float = _losses(0.2, "Share of training segments whose colours become the stencil's.")
    slots: int = _losses(10, "Segments, and pairs of segments, per picture that the networks train on.")
    lambda_semantic: float = _losses(10.0, "Weight of the synthesis network's semantic term.")
    lambda_vgg: float = _losses(1.0, "Weight of the VGG terms.")
    no_vgg_loss: bool = _losses(False, "Leave the VGG terms out.")
    vgg_weights: str = _losses(
        "imagenet",
        "imagenet (Keras downloads them), a file (Keras .h5 or torchvision .pth), or random.",
        role="run",
    )
    transformation_period: int = _losses(1, "Steps per step of the transformation network; 0 never.")
    order_period: int = _losses(1, "Steps per step of the order network; 0 never.")
    synthesis_period: int = _losses(1, "Steps per step of the synthesis network; 0 never.")

    def uses(self) -> list[Use]:
        """When options have an effect."""
        moved, ordered = "of no effect with --use_transformation=false", "of no effect without --use_order"
        return [
            *super().uses(),
            Use("decay_epoch", False, "of no effect with sims, whose rates have a course of their own"),
            Use("transformation_view transformation_period", self.use_transformation, moved),
            Use("order_pooling order_period", self.use_order, ordered),
            Use("lambda_vgg vgg_weights", not self.no_vgg_loss, "of no effect with --no_vgg_loss"),
        ]
