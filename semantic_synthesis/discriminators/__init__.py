"""Discriminators that several methods can choose, and what their judgement costs whom (`ADVERSARIES`, --netD)."""

from semantic_synthesis.discriminators.adversaries import ADVERSARIES, Shown
from semantic_synthesis.discriminators.judged import Judged
from semantic_synthesis.discriminators.multiscale import MultiscaleDiscriminator, pool_by_two
from semantic_synthesis.discriminators.pyramid import PyramidDiscriminator
from semantic_synthesis.discriminators.segmentation import SegmentationDiscriminator

__all__ = [
    "ADVERSARIES",
    "Judged",
    "MultiscaleDiscriminator",
    "PyramidDiscriminator",
    "SegmentationDiscriminator",
    "Shown",
    "pool_by_two",
]
