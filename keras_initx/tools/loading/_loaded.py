"""The result of `loading`: how much of each weight the block has written.

The object exists from the start of the block. At the end it gets an `Outcome`.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx._checks import truncate
from keras_initx._similar_paths import describe_paths, group_similar
from keras_initx.report._results import Judgement, Tabular
from keras_initx.report._table import Column
from keras_initx.report._terminal import line_width
from keras_initx.report._text import choose_verb, format_count, join_clauses
from keras_initx.tools.load_pretrained._load_report import LoadedWeight, load_columns
from keras_initx.tools.loading._unwritten import NOT_KNOWN, OVERWRITTEN, UNWRITTEN


@dataclass(frozen=True)
class Outcome:
    """The rows and models at the end of a block.

    Attributes:
        rows: The rows.
        models: The models.
        seed: The root of all seeds.
        are_new: Whether the models were made in the block.
    """

    rows: list[LoadedWeight]
    models: list[keras.Model]
    seed: int
    are_new: bool


class Loaded(Tabular[LoadedWeight], Judgement):
    """The weights that a block of `loading` has written and missed, in the form of all results.

    You can read it after the block. Before its end, and after an error, the attributes raise
    `RuntimeError`.

    `print` shows you each weight that was missed or is `"not known"`. One line lists all loaded
    weights as patterns. `to_csv`, `to_json` and `to_pandas` give you a row for each weight.

    See Also:
        The page "Find the weights that loading did not reach" shows how to read the statuses.
    """

    def __init__(self) -> None:
        self._outcome: Outcome | None = None

    @property
    def rows(self) -> list[LoadedWeight]:
        """A `LoadedWeight` for each weight and buffer of your models at the end of the block.

        Rows are for floating-point values and for the integers of quantized layers. A layer that is
        not built has a row without a shape. `changed` counts the values that were written. `status`
        is one of these:

        - `"loaded"`: all values were written.
        - `"drawn"`: some values were not written. They are drawn.
        - `"left"`: some values were not written. They are as before, or as the layer has made them.
        - `"overwritten"`: all values were written, and then drawn again. They are as drawn.
        - `"not known"`: the weight has a NaN that a file may have written, or `quantize` made it in
          the block, or `loading` could not watch it, or the layer is not built. Nothing was done.
        """
        return self._end.rows

    @property
    def models(self) -> list[keras.Model]:
        """The model that you passed, or the outermost models that were made in the block."""
        return self._end.models

    @property
    def seed(self) -> int:
        """The seed, given or drawn."""
        return self._end.seed

    @property
    def missed(self) -> list[str]:
        """The paths of the weights that lack loaded values at the end of the block.

        The block did not write them, or only in part, or it drew them again after loading.
        """
        return [row.path for row in self.rows if row.status in (*UNWRITTEN, OVERWRITTEN)]

    @property
    def not_known(self) -> list[str]:
        """The paths of the weights and layers with the status `"not known"`."""
        return [row.path for row in self.rows if row.status == NOT_KNOWN]

    @property
    def problems(self) -> list[LoadedWeight]:
        """The rows of the paths in `missed` or `not_known`."""
        return [row for row in self.rows if row.status != "loaded"]

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        outcome = self._end
        left = "as made by their layers" if outcome.are_new else "as before"
        return _summarize(outcome.rows, outcome.seed, left)

    @property
    def _end(self) -> Outcome:
        if self._outcome is None:
            raise RuntimeError(
                "Read the result of `loading` after its block, which must end without an error."
            )
        return self._outcome

    def _rows(self) -> Sequence[LoadedWeight]:
        return self.problems

    def _columns(self) -> Sequence[Column[LoadedWeight]]:
        return load_columns()

    def _own_content(self) -> dict[str, Any]:
        return {"seed": self.seed}

    def _headline(self) -> str:
        if self._outcome is None:
            return ": not known yet"
        return f": {self.summary.removesuffix('.')}"

    def _below(self) -> list[str]:
        lines = ["", self.summary]
        groups = _group_loaded(self.rows)
        if groups:
            line = f"Loaded: {truncate(groups)}."
            lines += textwrap.wrap(line, line_width(), subsequent_indent="    ")
        return lines


def _group_loaded(rows: Iterable[LoadedWeight]) -> list[str]:
    """Group the loaded weights by patterns: `hidden/*` if all weights of `hidden` were loaded.

    A pattern is for the outermost layer without other weights. Patterns that differ only in numbers
    become one pattern with their count.
    """
    loaded = [row.path for row in rows if row.status == "loaded"]
    with_others: set[str] = set()
    for row in rows:
        if row.status != "loaded":
            with_others.update(_list_patterns(row.path))
    patterns = []
    for path in loaded:
        pure = (pattern for pattern in _list_patterns(path) if pattern not in with_others)
        patterns.append(next(pure, path))
    groups = group_similar(dict.fromkeys(patterns), path=str)
    return [describe_paths(group) for group in groups]


def _list_patterns(path: str) -> list[str]:
    # "net/encoder.0.weight" -> ["net/*", "net/encoder.*", "net/encoder.0.*"]
    return [f"{path[: separator.end()]}*" for separator in re.finditer("[/.]", path)]


def _summarize(rows: Sequence[LoadedWeight], seed: int, left: str) -> str:
    """Say the result in one sentence.

    Args:
        rows: The rows.
        seed: The seed.
        left: The words for weights that keep their values.
    """
    weights = [row for row in rows if row.shape is not None]
    counts = Counter(row.status for row in weights)
    missed = sum(counts[status] for status in UNWRITTEN)
    total = len(weights)
    were_drawn_again = f"{choose_verb(counts[OVERWRITTEN], 'was', 'were')} drawn after loading"
    if not rows:
        text = "No model that was made in the block has weights, or still exists"
    elif missed:
        text = _describe_missed(weights, counts, missed, seed, left)
    elif counts[OVERWRITTEN]:
        text = f"{counts[OVERWRITTEN]} of {total} weights {were_drawn_again}"
    elif counts[NOT_KNOWN]:
        text = f"{counts['loaded']} of {total} weights were written"
    else:
        text = f"All {total} weights were written"
    if missed and counts[OVERWRITTEN]:
        text += f"; {counts[OVERWRITTEN]} {were_drawn_again}"
    if counts[NOT_KNOWN]:
        text += f"; {counts[NOT_KNOWN]} not known"
    unbuilt = len(rows) - total
    if unbuilt:
        text += f"; {format_count(unbuilt, 'layer')} not built"
    return f"{text}."


def _describe_missed(
    weights: Sequence[LoadedWeight], counts: Counter[str], missed: int, seed: int, left: str
) -> str:
    never = "never written"
    if any(row.changed for row in weights if row.status in UNWRITTEN):
        never = "never written, or only in part"
    texts = []
    if counts["drawn"]:
        texts.append(f"{counts['drawn']} redrawn, seed {seed}")
    if counts["left"]:
        texts.append(f"{counts['left']} {left}")
    done = join_clauses(*texts)
    if len(texts) == 1:
        done = done.removeprefix(f"{missed} ")
    were = choose_verb(missed, "was", "were")
    return f"{missed} of {len(weights)} weights {were} {never}: {done}"
