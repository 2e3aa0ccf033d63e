"""The plan that `load_pretrained` returns: the source of each weight, as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keras_initx._typing import Shape
from keras_initx.models._tabular import Tabular
from keras_initx.rendering._table import Column

# Maximum number of names and problems that a text lists.
LISTED = 20


@dataclass(frozen=True)
class LoadedWeight:
    """The source of one weight in `load_pretrained`.

    Attributes:
        path: Its path in the model, see `ModelWeight`.
        shape: Its shape.
        dtype: The name of its dtype.
        names: The names of the arrays that it is loaded from, empty if there are none.
        source_shape: Their shape, or `None` if there are none.
        change: How they are converted; empty if they are used as they are.
        reason: Why the weight is left unchanged, otherwise empty.
        problem: Why it cannot be loaded, otherwise empty.
    """

    path: str
    shape: Shape
    dtype: str
    names: tuple[str, ...] = ()
    source_shape: Shape | None = None
    change: str = ""
    reason: str = ""
    problem: str = ""


_COLUMNS: Sequence[Column[LoadedWeight]] = (
    Column("weight", lambda weight: weight.path, is_text=True),
    Column("shape", lambda weight: weight.shape),
    Column("array", lambda weight: " + ".join(weight.names), is_text=True, max_width=40),
    Column("array shape", lambda weight: weight.source_shape or ""),
    Column("conversion", lambda weight: _done(weight), is_text=True, max_width=30),
)


def _done(weight: LoadedWeight) -> str:
    if weight.problem:
        return f"ERROR: {weight.problem}"
    return f"({weight.reason})" if weight.reason else weight.change


@dataclass(frozen=True, eq=False, repr=False)
class LoadingPlan(Tabular[LoadedWeight]):
    """The source of each weight in `load_pretrained`, shown as a table by `print` and in notebooks.

    Attributes:
        weights: A `LoadedWeight` for each weight, in the order of the layers.
        unused: Dict from the names of the unused arrays to their shapes.
        dry_run: Whether the model was left unchanged.
    """

    weights: list[LoadedWeight]
    unused: Mapping[str, Shape]
    dry_run: bool
    _columns = _COLUMNS

    @property
    def left(self) -> list[LoadedWeight]:
        """The weights that are left unchanged."""
        return [weight for weight in self.weights if weight.reason]

    @property
    def problems(self) -> list[str]:
        """A message for each weight that cannot be loaded. Only the plan of a dry run can have any."""
        return [f"{weight.path!r} {weight.shape}: {weight.problem}" for weight in self.weights if weight.problem]

    def _summary(self) -> str:
        problems, left = self.problems, self.left
        parts = [
            f"{len(self.weights) - len(left) - len(problems)} of {len(self.weights)} weights "
            + ("to be loaded" if self.dry_run else "loaded")
        ]
        if left:
            parts.append(f"{len(left)} left unchanged")
        if problems:
            parts.append(f"{len(problems)} with errors")
        arrays = [f"{name} {shape}" for name, shape in self.unused.items()]
        unused = f"; unused arrays: {listed(arrays)}" if arrays else ""
        return f"{', '.join(parts)}{unused}."


def listed(texts: Sequence[str], mark: str = ", ") -> str:
    """Join `texts` in one line, truncating a long list."""
    more = [f"and {len(texts) - LISTED} more"] if len(texts) > LISTED else []
    return mark.join([*texts[:LISTED], *more])
