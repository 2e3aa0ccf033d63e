"""What names in the files of Keras say: the layers around an array, and what is no weight."""

from collections.abc import Mapping

FORMATS_OF_KERAS = (".keras", ".h5", ".hdf5")
# Before Keras 3, and in `.h5` files of Keras 3, weights and variables of the optimizer.
_WEIGHTS = "model_weights"
_OPTIMIZER = "optimizer_weights"


def enclosing_layers(name: str, layers: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the names of the layers around an array, and its own; `None` if it is in none.

    Keras 3 numbers the arrays of a layer: `("block", "dense", "0")`; before it they have the names
    of weights: `("block", "dense", "kernel")`.

    Args:
        name: The name of the array in a file.
        layers: The names of layers by groups, see `Contents`.
    """
    group, found, key = f"/{name}".rpartition("/vars/")
    parts = group.split("/")
    if found:
        around = ["/".join(parts[1:end]) for end in range(2, len(parts) + 1)]
        return (*(layers[one] for one in around if one in layers), key)
    # Before Keras 3, the group of a layer has the whole names of its weights.
    parts = name.removesuffix(":0").split("/")
    if parts[0] == _WEIGHTS:
        parts = parts[1:]
    layer, *rest = parts
    is_layer = layer in layers or f"{_WEIGHTS}/{layer}" in layers or name.endswith(":0")
    if not is_layer or not rest:
        return None
    if layer in rest[:-1]:
        rest = rest[rest.index(layer) + 1 :]
    return (layer, *rest)


def enclosing_groups(name: str, layers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the groups of the layers of `enclosing_layers`, each within the layer around it.

    Before Keras 3, when a group has all weights of a layer, they are empty.
    """
    path = enclosing_layers(name, layers) or ("",)
    parts = f"/{name}".rpartition("/vars/")[0].split("/")
    found = []
    outer = ""
    for end in range(2, len(parts) + 1):
        group = "/".join(parts[1:end])
        if group in layers:
            found.append(group[len(outer) :].removeprefix("/"))
            outer = group
    return tuple(found) or ("",) * (len(path) - 1)


def is_optimizer_or_seed(name: str) -> bool:
    """Return whether an array in a file of Keras is a variable of the optimizer, or a seed."""
    if name.startswith(f"{_OPTIMIZER}/"):
        return True
    groups, found, _ = name.rpartition("/vars/")
    if not found:
        return False
    first, *_ = groups.split("/")
    return first == "optimizer" or groups.rpartition("/")[2].startswith("seed_generator")
