"""The result of `record_outputs`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keras_initx._signatures import shorten_signature
from keras_initx._typing import DType, Shape
from keras_initx.inspection._environment import Environment
from keras_initx.report._results import Tabular
from keras_initx.report._table import Column, format_cell
from keras_initx.report._text import format_count
from keras_initx.tools.compare_outputs._outputs_file import FileContent, save_outputs
from keras_initx.tools.compare_outputs._recorded import RecordedCall
from keras_initx.tools.compare_outputs._recorded_step import RecordedStep
from keras_initx.tools.compare_outputs._samples import RecordedTensor


@dataclass(frozen=True)
class RecordedOutput:
    """The first output of a call.

    Attributes:
        path: The path of the layer, or the name of the module.
        call: The number of the call, from 1.
        kind: The name of its class.
        shape: The shape of the output, `None` if it has no numbers.
        dtype: The name of its dtype, empty if there is none.
        mean: The mean of its values.
        std: Their standard deviation.
    """

    path: str
    call: int
    kind: str
    shape: Shape | None = None
    dtype: DType = ""
    mean: float | None = None
    std: float | None = None


@shorten_signature
class RecordedOutputs(Tabular[RecordedOutput]):
    """The outputs of all layers of your model for a batch, for `compare_outputs`.

    It has the form of all results, with a row for each call, ordered by the ends of calls.

    Attributes:
        calls: The record of each call.
        framework: The source of the outputs: `"keras"`, `"torch"`, or `"arrays"` if you passed
            arrays.
        backend: The backend of Keras that has made them, empty for others.
        step: The record of the first step of training, `None` if it was not recorded.
        environment: The versions and devices that have computed them, `None` if they are not known.
        weights: The weights and buffers of a model of Keras by their paths, empty for others.
    """

    def __init__(
        self,
        calls: Sequence[RecordedCall],
        framework: str,
        backend: str,
        step: RecordedStep | None = None,
        environment: Environment | None = None,
        weights: Mapping[str, RecordedTensor] | None = None,
    ) -> None:
        self.calls: Sequence[RecordedCall] = calls
        self.framework: str = framework
        self.backend: str = backend
        self.step: RecordedStep | None = step
        self.environment: Environment | None = environment
        self.weights: Mapping[str, RecordedTensor] = weights or {}

    @property
    def rows(self) -> list[RecordedOutput]:
        """A row for each call."""
        return list(map(_row, self.calls))

    def save(self, path: str | Path) -> None:
        """Save the outputs as an `.npz` file, without pickles.

        Raises:
            OSError: If it cannot be written.
            ValueError: If `path` is a URL, or does not end in `.npz`.
        """
        content = FileContent(
            self.calls, self.framework, self.backend, self.step, self.environment, self.weights
        )
        save_outputs(path, content)

    def _rows(self) -> list[RecordedOutput]:
        return self.rows

    def _columns(self) -> list[Column[RecordedOutput]]:
        return [
            Column("layer", lambda row: row.path, is_text=True),
            Column("call", lambda row: row.call if row.call > 1 else ""),
            Column("class", lambda row: row.kind, is_text=True, is_optional=True),
            Column("shape", lambda row: row.shape),
            Column("dtype", lambda row: row.dtype, is_text=True, is_optional=True),
            Column("mean", lambda row: format_cell(row.mean)),
            Column("std", lambda row: format_cell(row.std)),
        ]

    @property
    def summary(self) -> str:
        """How many calls were recorded, in one sentence."""
        text = f"{format_count(len(self.calls), 'call')} recorded"
        if self.step is None:
            return f"{text}."
        if self.step.obstacle:
            return f"{text}; no first step: {self.step.obstacle}."
        return f"{text}, and the first step: the loss is {self.step.loss:.4g}."

    def _headline(self) -> str:
        return f" of {format_count(len(self.calls), 'call')}"


def _row(call: RecordedCall) -> RecordedOutput:
    row = RecordedOutput(call.key.name, call.key.number, call.kind)
    first = next(iter(call.outputs.values()), None)
    if first is None:
        return row
    return replace(row, shape=first.shape, dtype=first.dtype, mean=first.mean, std=first.deviation)
