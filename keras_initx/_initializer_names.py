"""Find an initializer by a name that a user may try: an id, a class, or a name elsewhere.

Does not import Keras.
"""

import difflib
from collections.abc import Sequence

from keras_initx._suggestions import did_you_mean

# The public names of the package, which sets them, above all folders.
public_names: Sequence[str] = ()
# Those among them in capital letters that are no initializers.
_OTHERS = ("KeepSparse", "SignalMonitor")
# What torch, JAX and Keras call those that have another name here.
_ELSEWHERE = {
    "KaimingNormal": "HeNormal",
    "KaimingUniform": "HeUniform",
    "Normal": "RandomNormal",
    "TruncNormal": "TruncatedNormal",
    "TruncNormalTf": "TruncatedNormal",
    "Uniform": "RandomUniform",
    "UniformUnitScalingInitializer": "VarianceScaling",
    "VarianceScalingInitializer": "VarianceScaling",
    "XavierNormal": "GlorotNormal",
    "XavierUniform": "GlorotUniform",
}
# What people call several of them by, without the distribution.
_FAMILIES = {"glorot": "Glorot", "he": "He", "kaiming": "He", "lecun": "Lecun", "xavier": "Glorot"}


def find_class_name(name: str) -> str:
    """Return the name of the class that `name` means.

    Args:
        name: An id, with or without `initx.`, a class, or a name in another library, in capital
            letters or with underscores: `kaiming_normal_` is `KaimingNormal`.

    Raises:
        ValueError: If no class has this name.
    """
    found = _classes().get(_spelling(name))
    if found is None:
        hint = did_you_mean(similar_class_names(name)) or "; `list` shows all ids."
        raise ValueError(f"no initializer is named {name!r}{hint}")
    return found


def similar_class_names(name: str) -> list[str]:
    """Return the class that `name` means, or classes with similar names."""
    classes = _classes()
    spelled = _spelling(name)
    if spelled in classes:
        return [classes[spelled]]
    if spelled in _FAMILIES:
        return [f"{_FAMILIES[spelled]}Normal", f"{_FAMILIES[spelled]}Uniform"]
    close = difflib.get_close_matches(spelled, classes, cutoff=0.8)
    return list(dict.fromkeys(classes[one] for one in close))


def _classes() -> dict[str, str]:
    """Return the class of each name, by its spelling."""
    own = [name for name in public_names if name[0].isupper() and name not in _OTHERS]
    found = {_spelling(name): name for name in own}
    for name, class_name in _ELSEWHERE.items():
        found[_spelling(name)] = class_name
    return found


def _spelling(name: str) -> str:
    """Return the common form of an id, a class and names with other capital letters."""
    return name.removeprefix("initx.").replace("_", "").lower().removesuffix("initializer")
