"""What methods with a VGG loss ask for and name."""

from __future__ import annotations

from typing import Any

from semantic_synthesis.methods.method import Method
from semantic_synthesis.networks.vgg import weights_file


class VGGMethod(Method):
    """A Method whose options include no_vgg_loss and vgg_weights; the loss itself is the subclass's."""

    @classmethod
    def check_files(cls, config: Any) -> None:
        """VGG19's weights."""
        if not config.no_vgg_loss:
            weights_file(config.vgg_weights)

    @classmethod
    def without_features(cls, config: Any) -> Any:
        """The same networks without VGG19."""
        return config.replace(no_vgg_loss=True)

    @classmethod
    def sources(cls, config: Any) -> list[str]:
        """The VGG loss brings weights of its own."""
        return [] if config.no_vgg_loss else [f"VGG19 weights ({config.vgg_weights}) in the loss"]
