"""The result of `save_pretrained`, with a row for each weight, and its table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_initx._checks import truncate
from keras_initx._typing import Shape
from keras_initx.report._results import Judgement, Tabular
from keras_initx.report._table import Column
from keras_initx.tools.load_pretrained._load_report import describe_row, describe_status


@dataclass(frozen=True)
class SavedWeight:
    """A weight, and the arrays that it was saved in.

    Attributes:
        path: Path of the weight in your model, see `ModelWeight`.
        status: The outcome. `"saved"`; `"kept"` if you did not change the weight since the load, so
            that its arrays keep their bits; `"left"` if no array has the weight; `"error"` if it
            cannot be saved as you asked.
        detail: How it was converted, or why it was not saved. Conversions have the names that
            `load_pretrained` gives them.
        shape: Its shape.
        dtype: The name of its dtype.
        size: The number of its values.
        saved: The number of its values that are in the arrays.
        arrays: The names of the arrays that it was saved in.
        array_shape: The shape of these arrays.
        array_dtype: The name of their dtype.
    """

    path: str
    status: str
    detail: str = ""
    shape: Shape | None = None
    dtype: str = ""
    size: int | None = None
    saved: int | None = None
    arrays: tuple[str, ...] = ()
    array_shape: Shape | None = None
    array_dtype: str = ""

    @property
    def text(self) -> str:
        """The outcome or the problem, in words."""
        return describe_row(self)


@dataclass(frozen=True, eq=False, repr=False)
class SaveReport(Tabular[SavedWeight], Judgement):
    """The weights of your model that `save_pretrained` has saved, in the form of all results.

    Attributes:
        rows: A `SavedWeight` for each weight, in the order of the model.
        path: The file or the folder.
        dry_run: Whether nothing was written.
        copied: Dict from the names of the arrays that are copied from `like` to their shapes.
        notes: Lines of text for each user of the file, for example about rounded weights.
    """

    rows: Sequence[SavedWeight]
    path: str
    dry_run: bool = False
    copied: Mapping[str, Shape] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def problems(self) -> list[SavedWeight]:
        """The rows of the weights that cannot be saved as you asked.

        Only a dry run has such rows, because saving raises an error for them.
        """
        return [row for row in self.rows if row.status == "error"]

    @property
    def summary(self) -> str:
        """The number of saved, kept and copied arrays, in words."""
        counts = Counter(row.status for row in self.rows)
        done = "to be saved" if self.dry_run else "saved"
        text = f"{counts['saved'] + counts['kept']} of {len(self.rows)} weights {done}"
        if not self.dry_run:
            text += f" to {self.path} and loaded again: equal"
        if counts["kept"]:
            text += f"; {counts['kept']} unchanged with the bits of `like`"
        if counts["left"]:
            text += f"; {counts['left']} left out"
        if counts["error"]:
            text += f"; {counts['error']} with errors"
        if self.copied:
            arrays = [f"{name} {shape}" for name, shape in self.copied.items()]
            text += f"; arrays copied from `like`: {truncate(arrays)}"
        return " ".join([f"{text}.", *self.notes])

    def _columns(self) -> list[Column[SavedWeight]]:
        return [
            Column("weight", lambda row: row.path, is_text=True),
            Column("shape", lambda row: row.shape),
            Column("array", lambda row: " + ".join(row.arrays), is_text=True),
            Column("array shape", lambda row: row.array_shape, is_optional=True),
            Column("dtype", lambda row: row.array_dtype, is_optional=True),
            Column("status", describe_status, is_text=True),
        ]

    def _own_content(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "dry_run": self.dry_run,
            "copied": dict(self.copied),
            "notes": list(self.notes),
        }

    def _below(self) -> list[str]:
        return ["", self.summary]
