"""Read names in files of Keras: the layers around an array, and arrays that are no weights.

layers/block/dense/vars/0           Keras 3: groups of layers, and the number of the weight
dense_1/dense_1/kernel:0            Keras 2: the layer, and the whole name of the weight
model_weights/dense_1/...           the same in a file that has an optimizer too
optimizer/vars/3                    a variable of the optimizer, Keras 3
optimizer_weights/Adam/m/...:0      a variable of the optimizer, Keras 2
layers/dropout/seed_generator/vars/0    a seed
"""

from collections.abc import Mapping

FORMATS_OF_KERAS = (".keras", ".h5", ".hdf5")
# Before Keras 3, and in `.h5` files of Keras 3, weights and variables of the optimizer.
_WEIGHTS = "model_weights"
_OPTIMIZER = "optimizer_weights"


def enclosing_layers(name: str, layers: Mapping[str, str]) -> tuple[str, ...] | None:
    """Read the names of the layers around an array, and its own; `None` if it is in no layer.

    Keras 3 numbers the arrays of a layer: `("block", "dense", "0")`. Keras 2 gives them the names
    of
    weights: `("block", "dense", "kernel")`.

    Args:
        name: The name of the array in a file.
        layers: The names of layers by groups, see `Contents`.
    """
    group, separator, key = f"/{name}".rpartition("/vars/")
    pieces = group.split("/")
    if separator:
        groups = ["/".join(pieces[1:end]) for end in range(2, len(pieces) + 1)]
        return (*(layers[outer_group] for outer_group in groups if outer_group in layers), key)
    # Before Keras 3, the group of a layer has the whole names of its weights.
    pieces = name.removesuffix(":0").split("/")
    if pieces[0] == _WEIGHTS:
        pieces = pieces[1:]
    layer, *rest = pieces
    is_layer = layer in layers or f"{_WEIGHTS}/{layer}" in layers or name.endswith(":0")
    if not is_layer or not rest:
        return None
    if layer in rest[:-1]:
        rest = rest[rest.index(layer) + 1 :]
    return (layer, *rest)


def enclosing_groups(name: str, layers: Mapping[str, str]) -> tuple[str, ...]:
    """Read the groups of the layers of `enclosing_layers`, each within the layer around it.

    They are empty for Keras 2, because there a group has all weights of a layer.
    """
    names = enclosing_layers(name, layers) or ("",)
    pieces = f"/{name}".rpartition("/vars/")[0].split("/")
    groups = []
    outer = ""
    for end in range(2, len(pieces) + 1):
        group = "/".join(pieces[1:end])
        if group in layers:
            groups.append(group[len(outer) :].removeprefix("/"))
            outer = group
    return tuple(groups) or ("",) * (len(names) - 1)


def is_optimizer_or_seed(name: str) -> bool:
    """Return whether an array in a file of Keras is a variable of the optimizer, or a seed."""
    if name.startswith(f"{_OPTIMIZER}/"):
        return True
    groups, separator, _ = name.rpartition("/vars/")
    if not separator:
        return False
    first, *_ = groups.split("/")
    return first == "optimizer" or groups.rpartition("/")[2].startswith("seed_generator")
