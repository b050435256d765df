"""The training loop: strategy, optimisers, schedule, checkpoints, what is shown. It knows no method."""

from semantic_synthesis.training.strategy import make_strategy
from semantic_synthesis.training.trainer import Trainer

__all__ = ["Trainer", "make_strategy"]
