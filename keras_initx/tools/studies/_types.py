"""The types that the files of this folder share."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

# An array, a tensor, a pandas object, or a list, tuple or dict of them, as for `fit`.
Structure: TypeAlias = Any
# ((x, y), (x_val, y_val)) as an argument, and as arrays after checking. Sample weights may follow
# the targets.
DataLike: TypeAlias = Sequence[Sequence[Structure]]
Split: TypeAlias = tuple[Structure, ...]
CheckedData: TypeAlias = tuple[Split, Split]

Mode: TypeAlias = Literal["auto", "max", "min"]
Direction: TypeAlias = Literal["max", "min"]

# A row of a table, or what is kept of a trial: names, numbers and lists, as JSON has them.
Record: TypeAlias = dict[str, Any]


class BuildError(ValueError):
    """Raised if the trials of a study cannot be compared.

    The model from `build`, or the metric to compare by, is not suitable. This error ends the study.
    Other errors end a trial.
    """
