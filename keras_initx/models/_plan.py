"""The plan that `initialize` returns: the initializer of each weight, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_initx.diagnostics._text import number
from keras_initx.models._tabular import Tabular
from keras_initx.rendering._table import Column


@dataclass(frozen=True)
class WeightPlan:
    """The initialization of one weight.

    Attributes:
        path: Its path in the model, see `ModelWeight`.
        shape: Its shape.
        dtype: The name of its dtype.
        nbytes: Its size in bytes.
        initializer: The initializer as text, or `None` if the weight is left unchanged.
        reason: Why it is left unchanged, otherwise empty.
        fan_in: The number of inputs of a unit if this is a kernel, otherwise `None`.
        fan_out: The number of units connected to an input if this is a kernel, otherwise `None`.
        expected_std: The standard deviation expected from the initializer, or `None` if it is
            unknown.
        seed: The seed of the initializer, or `None` if it is deterministic, or an object or function
            of a user that cannot be given a seed.
        std: The standard deviation of the drawn values, or `None` if none were drawn.
        seconds: The time it took to draw them, or `None` if none were drawn.
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
    """Format a number of bytes with a readable unit."""
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
    """The initialization of each weight of a model, shown as a table by `print` and in notebooks.

    Attributes:
        weights: A `WeightPlan` for each weight, in the order of the layers.
        seed: The seed from which all others are derived.
        dry_run: Whether the model was left unchanged.
    """

    weights: list[WeightPlan]
    seed: int
    dry_run: bool
    _columns = _COLUMNS

    @property
    def left(self) -> list[WeightPlan]:
        """The weights that are left unchanged."""
        return [weight for weight in self.weights if weight.initializer is None]

    def _summary(self) -> str:
        drawn = len(self.weights) - len(self.left)
        size = sum(weight.nbytes for weight in self.weights)
        would = "to be drawn" if self.dry_run else "drawn"
        seconds = "" if self.dry_run else f" in {number(sum(weight.seconds or 0 for weight in self.weights))} s"
        left = f", {len(self.left)} left unchanged" if self.left else ""
        return f"{drawn} of {len(self.weights)} weights {would}{seconds}{left}; {_size(size)}; seed {self.seed}."
