"""What `initialize` does to each weight of a model, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_initx.diagnostics._text import number
from keras_initx.models._tabular import Tabular
from keras_initx.rendering._table import Column


@dataclass(frozen=True)
class WeightPlan:
    """What `initialize` does to one weight.

    Attributes:
        path: Its path in the model, see `ModelWeight`.
        shape: Its shape.
        dtype: The name of its dtype.
        nbytes: Its size in bytes.
        initializer: The initializer as text, `None` if the weight is left as it is.
        reason: Why it is left as it is, otherwise empty.
        fan_in: For a kernel, the number of inputs of a unit, otherwise `None`.
        fan_out: For a kernel, the number of units that an input goes to, otherwise `None`.
        expected_std: The standard deviation that the initializer is to give, `None` if it does not say.
        seed: The seed of the initializer, `None` if it draws no random numbers.
        std: The standard deviation of the values drawn, `None` if none were.
        seconds: How long drawing them took, `None` if none were drawn.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    initializer: str | None
    reason: str = ""
    fan_in: int | None = None
    fan_out: int | None = None
    expected_std: float | None = None
    seed: int | None = None
    std: float | None = None
    seconds: float | None = None


def _optional(value: Any) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def _size(count: int) -> str:
    """Return a number of bytes in a readable unit."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


_COLUMNS: Sequence[Column[WeightPlan]] = (
    Column("weight", lambda weight: weight.path, is_text=True),
    Column("shape", lambda weight: weight.shape),
    Column("initializer", lambda weight: weight.initializer or f"({weight.reason})", is_text=True, max_width=30),
    Column("fan in", lambda weight: _optional(weight.fan_in)),
    Column("fan out", lambda weight: _optional(weight.fan_out)),
    Column("std expected", lambda weight: _optional(weight.expected_std)),
    Column("std", lambda weight: _optional(weight.std)),
    Column("seed", lambda weight: _optional(weight.seed), wide_only=True),
    Column("seconds", lambda weight: _optional(weight.seconds), wide_only=True),
    Column("size", lambda weight: _size(weight.nbytes), wide_only=True),
)


@dataclass(frozen=True, eq=False, repr=False)
class InitializationPlan(Tabular[WeightPlan]):
    """What `initialize` has done to each weight of a model, or would do. `print` and a notebook show it as a table.

    Attributes:
        weights: A `WeightPlan` for each weight, in the order of the layers.
        seed: The seed that all others follow from.
        dry_run: Whether the model was left as it is.
    """

    weights: list[WeightPlan]
    seed: int
    dry_run: bool
    _columns = _COLUMNS

    @property
    def left(self) -> list[WeightPlan]:
        """The weights that are left as they are."""
        return [weight for weight in self.weights if weight.initializer is None]

    def _summary(self) -> str:
        drawn = len(self.weights) - len(self.left)
        size = sum(weight.nbytes for weight in self.weights)
        would = "to be drawn" if self.dry_run else "drawn"
        seconds = "" if self.dry_run else f" in {number(sum(weight.seconds or 0 for weight in self.weights))} s"
        left = f", {len(self.left)} left as they are" if self.left else ""
        return f"{drawn} of {len(self.weights)} weights {would}{seconds}{left}; {_size(size)}; seed {self.seed}."
