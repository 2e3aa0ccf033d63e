"""Read the versions of packages and the devices of a model, for reports that compare models."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras

from keras_initx.backends._current import backend

# {"keras": "3.12.0", "torch": "2.9.0"}
Versions: TypeAlias = Mapping[str, str]


@dataclass(frozen=True)
class Environment:
    """The versions of packages and the devices of a model.

    Attributes:
        versions: Dict from packages to versions: Keras and its backend, or torch; then the package
            that has the class of the model.
        devices: The devices that hold its weights, e.g. `("cuda:0",)`.
    """

    versions: Versions
    devices: Sequence[str] = ()

    def as_content(self) -> dict[str, Any]:
        """Convert the environment to a dict for JSON."""
        return {"versions": dict(self.versions), "devices": list(self.devices)}

    def __str__(self) -> str:
        parts = [f"{name} {version}" for name, version in self.versions.items()]
        return ", ".join([*parts, *self.devices])


def read_environment(model: Any) -> Environment:
    """Read the versions of packages and the devices of a Keras model or a torch module.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> read_environment(model).versions["keras"] == keras.__version__
        True
    """
    devices: set[str] = set()
    if isinstance(model, keras.Model):
        packages = ["keras", keras.backend.backend()]
        for variable in model.variables:
            devices.update(backend.device_names(variable.value))
    else:
        packages = ["torch"]
        devices.update(str(value.device) for value in (*model.parameters(), *model.buffers()))
    model_package = type(model).__module__.partition(".")[0]
    versions = {}
    for package in dict.fromkeys([*packages, model_package]):
        # A module of a user, or a script, has no version.
        version = getattr(sys.modules.get(package), "__version__", None)
        if isinstance(version, str):
            versions[package] = version
    return Environment(versions, tuple(sorted(devices)))
