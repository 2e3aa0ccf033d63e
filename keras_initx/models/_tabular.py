"""Base class of plans: a row for each weight of a model, as a table, JSON and CSV."""

import dataclasses
import shutil
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from keras_initx.rendering._export import as_csv, as_json
from keras_initx.rendering._table import Column, Table, narrow

Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Tabular(Generic[Row]):
    """A plan with a row for each weight, shown as a table by `print` and in notebooks.

    Attributes:
        weights: The rows, which are dataclasses, in the order of the layers.
    """

    weights: list[Row]
    _columns: ClassVar[Sequence[Column[Any]]] = ()

    def to_json(self) -> str:
        """Return the plan as JSON."""
        return as_json(dataclasses.asdict(self), indent=1)

    def to_csv(self) -> str:
        """Return the plan as CSV, with a row for each weight."""
        return as_csv([dataclasses.asdict(weight) for weight in self.weights])  # type: ignore[call-overload]

    def __str__(self) -> str:
        text = self._table(self._columns).as_text(rule=True)
        if text.index("\n") > shutil.get_terminal_size().columns:
            text = self._table(narrow(self._columns)).as_text(rule=True)
        return f"{text}\n{self._summary()}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._summary()[:-1]}>"

    def _repr_html_(self) -> str:
        return f"{self._table(self._columns).as_html()}<p>{self._summary()}</p>"

    def _table(self, columns: Sequence[Column[Row]]) -> Table:
        # Leave out columns that are empty for all weights, e.g. in a dry run.
        return Table.of([column for column in columns if any(map(column.cell, self.weights))], self.weights)

    def _summary(self) -> str:
        """Return a one-sentence summary."""
        raise NotImplementedError
