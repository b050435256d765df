"""Names of variables: the paths under which checkpoints and weights.npz hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def named_variables(layer: keras.layers.Layer, prefix: str = "") -> dict[str, keras.Variable]:
    """{path: Keras variable} of a layer and all below it; paths join layer names with "/".

    Keras' own paths leave out the parents of layers that make their variables when constructed.
    """
    found = {}
    for variable in layer._trainable_variables + layer._non_trainable_variables:
        found[prefix + variable.name] = variable
    for child in layer._layers:
        if getattr(child, "frozen", False):  # fixed features (VGG19) are no part of a run
            continue
        for name, variable in named_variables(child, f"{prefix}{child.name}/").items():
            if name in found:
                raise ValueError(f"two variables are called {name}; give one of the layers another name")
            found[name] = variable
    return found
