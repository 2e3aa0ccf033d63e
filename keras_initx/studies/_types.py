"""Type aliases for studies."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

# An array, a tensor, a pandas object, or a list, tuple or dict of them, as for `fit`.
Structure: TypeAlias = Any
# ((x, y), (x_val, y_val)) as given by the user, and as arrays. Sample weights may follow the targets.
Data: TypeAlias = Sequence[Sequence[Structure]]
Arrays: TypeAlias = tuple[tuple[Structure, ...], tuple[Structure, ...]]

Model: TypeAlias = keras.Model
# Takes an initializer, or another value of `initializers`.
BuildWith: TypeAlias = Callable[[Any], Model]
Build: TypeAlias = Callable[[], Model]
Initializers: TypeAlias = Sequence[str] | Mapping[str, Any]

Mode: TypeAlias = Literal["auto", "max", "min"]
Direction: TypeAlias = Literal["max", "min"]
Status: TypeAlias = Literal["finished", "diverged", "failed", "interrupted", "missing"]

# Metrics by name, with `"epoch"`, `"seconds"` and, in the first epoch, the list `"batch_losses"`.
Metrics: TypeAlias = dict[str, Any]
# A row of a machine-readable table: names, numbers and lists by column.
Record: TypeAlias = dict[str, Any]
# The arguments of a run as JSON types.
Settings: TypeAlias = dict[str, Any]

# Called after each epoch.
OnEpoch: TypeAlias = Callable[[], None]
