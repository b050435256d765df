"""Discriminators that several methods can choose; each returns Judged."""

from semantic_synthesis.discriminators.judged import Judged
from semantic_synthesis.discriminators.multiscale import MultiscaleDiscriminator, pool_by_two
from semantic_synthesis.discriminators.pyramid import PyramidDiscriminator

__all__ = ["Judged", "MultiscaleDiscriminator", "PyramidDiscriminator", "pool_by_two"]
