"""Names for the types of a study."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

# An array, a tensor, a pandas object, or a list, tuple or dict of them, as `fit` takes them.
Structure: TypeAlias = Any
# ((x, y), (x_val, y_val)) as a user gives it, and as arrays. Weights of the examples may follow the targets.
Data: TypeAlias = Sequence[Sequence[Structure]]
Arrays: TypeAlias = tuple[tuple[Structure, ...], tuple[Structure, ...]]

Model: TypeAlias = keras.Model
# It gets an initializer, or whatever else `initializers` names.
BuildWith: TypeAlias = Callable[[Any], Model]
Build: TypeAlias = Callable[[], Model]
Initializers: TypeAlias = Sequence[str] | Mapping[str, Any]

Mode: TypeAlias = Literal["auto", "max", "min"]
Direction: TypeAlias = Literal["max", "min"]
Status: TypeAlias = Literal["finished", "diverged", "failed", "interrupted", "missing"]

# Values of metrics by name, with `"epoch"`, `"seconds"` and in the first epoch the list `"batch_losses"`.
Metrics: TypeAlias = dict[str, Any]
# A row of a table for other programs: names, numbers and lists by the name of the column.
Record: TypeAlias = dict[str, Any]
# What JSON can hold of the arguments of a run.
Settings: TypeAlias = dict[str, Any]

# Called after each epoch.
OnEpoch: TypeAlias = Callable[[], None]
