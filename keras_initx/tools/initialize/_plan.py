"""The plan of an initialization: the initializer of each weight, as a table, file and values.

A plan is the result of `initialize`, and can be its `rules` for another model. Weights are then
paired by canonical paths, which do not depend on automatic names such as `dense_7`.
"""

import textwrap
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from keras_initx._checks import suggest_matches, summarize_names, truncate
from keras_initx._received import show
from keras_initx._typing import Array, Shape
from keras_initx.backends._backend import Region
from keras_initx.initializers._sparse import Masked, kept_sparse
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._pairing import canonical_weight_paths, pair_by_path
from keras_initx.inspection._weights import ModelWeight
from keras_initx.report._results import WeightTable, check_other_formats
from keras_initx.report._table import Column, format_cell
from keras_initx.report._terminal import line_width
from keras_initx.tools.initialize._plan_file import format_plan, read_planned_weights
from keras_initx.tools.initialize._planned_weight import PlannedWeight, WeightPlan


@dataclass(frozen=True, eq=False, repr=False)
class InitializationPlan(WeightTable[PlannedWeight]):
    """The initialization of each weight of your model, in the form of all results.

    The table has the weights that are drawn. One row covers all weights with the same initializer
    whose paths differ only in numbers. `to_csv` has a row for each weight. `save` writes a file
    that `initialize` can execute, and that `audit` can compare with your weights.

    Attributes:
        seed: The root of all seeds.
        dry_run: Whether your model was not changed.
        notes: Lines of text that you should read: the parts of your model that a recipe has
            recognized, the remedies of a report that are applied or left to you, the weights of
            other names that a pattern matches, the initializers without a seed, the layers that are
            not built, and the weights that are not finite.
    """

    _planned: list[PlannedWeight]
    seed: int
    dry_run: bool
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[WeightPlan]:
        """A `WeightPlan` for each weight, in the order of the layers."""
        return [weight.row for weight in self._planned]

    @property
    def left(self) -> list[WeightPlan]:
        """The rows of the weights that keep their values."""
        return [weight for weight in self.rows if weight.initializer is None]

    def save(self, path: str | Path) -> None:
        """Write the plan to a JSON file with a line for each weight.

        A line has the path, shape, dtype and fans of a weight, its initializer as class and config
        with its seed, and a digest. `save` draws the values once more for the digest. The digest is
        `null` if processors differ in the last bits, for your own initializers, and for all weights
        after a dry run. It is BLAKE2b with 16 bytes. Its input is the dtype and the shape, for
        example `float32 64x32`, a line feed, and the values in row-major order, little-endian.

        A weight that keeps its values is written without an initializer and with the reason. So is
        a weight whose initializer cannot be written: a function, your own object whose config lacks
        arguments, or an object whose class is not registered with Keras. If you execute the file,
        these weights keep their values too.

        Args:
            path: Path of the file. An older one is replaced when this one is complete.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `path` is a URL, or ends like the file of another method, `.csv`.

        Example:
            >>> import keras_initx
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
            >>> plan = keras_initx.initialize(model, seed=0)
            >>> plan.save("init.json")
            >>> again = keras_initx.initialize(model, "init.json")
            >>> keras_initx.audit(model, "init.json").summary
            '2 of 2 weights are as the plan says.'
        """
        check_other_formats(path)
        self.to_json(path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InitializationPlan):
            return NotImplemented
        return self._compared_content() == other._compared_content()

    def _compared_content(self) -> dict[str, Any]:
        # Without the digests of the file, for which all weights would be drawn, and without the
        # roles of drawn weights, which are not in a file.
        content = self._content()
        content["rows"] = [
            {**row, "detail": ""} if row["status"] == "drawn" else row for row in content["rows"]
        ]
        return content

    def _records(self) -> list[dict[str, Any]]:
        records = []
        for row in self.rows:
            values = asdict(row)
            records.append({"path": values.pop("path"), "status": row.status, **values})
        return records

    def _own_content(self) -> dict[str, Any]:
        return {"seed": self.seed, "dry_run": self.dry_run, "notes": list(self.notes)}

    def _json(self) -> str:
        return format_plan(self.seed, self._planned, has_values=not self.dry_run)

    @classmethod
    def load(cls, path: str | Path) -> "InitializationPlan":
        """Return the plan that `save` wrote.

        Its weights have no statistics.

        Args:
            path: Path of the file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If the file has no plan, is incomplete or of another version, or has an
                initializer that is unknown here. The message names the weight.

        Example:
            >>> import keras_initx
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
            >>> keras_initx.initialize(model, seed=0, dry_run=True).save("init.json")
            >>> InitializationPlan.load("init.json")
            <InitializationPlan: 2 of 2 weights to be drawn; seed 0>
        """
        return read_plan("path", path)

    def draw(self, path: str, region: Region | None = None) -> Array:
        """Return the values that `initialize` assigns to a weight, or a region of them.

        Use it to get weights without a model, or one shard of a large weight. A region alone takes
        memory and time of its own size if each value follows from its index: for constants of
        Keras, for initializers with one distribution, such as `RandomNormal`, `VarianceScaling` and
        `TimeStepBias`, and for `Scaled` with one of these. For all others, the whole weight is
        drawn and then cut.

        Args:
            path: The path of the weight.
            region: A tuple of a slice for each axis, such as `numpy.s_[2:4, :]` or the index of a
                shard in JAX. By default, you get the whole weight.

        Returns:
            A new array on the host, even if Keras has its weights on another device.

        Raises:
            TypeError: If `region` is no tuple of slices.
            ValueError: If `region` has another number of slices than the weight has axes, the plan
                has no such weight, or the weight keeps its values.

        Example:
            >>> import numpy as np
            >>> import keras_initx
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
            >>> plan = keras_initx.initialize(model, seed=0, dry_run=True)
            >>> whole = plan.draw("logits/kernel")
            >>> part = plan.draw("logits/kernel", np.s_[2:, :1])
            >>> bool((part == whole[2:, :1]).all())
            True
        """
        weight = self._weight(path)
        if weight.initializer is None:
            raise ValueError(
                "`path` must be the path of a weight that the plan draws. "
                f"Received: path={show(path)}, which is left unchanged: {weight.row.detail}"
            )
        if region is not None:
            _check_region(path, region, weight.row.shape)
        return replace(weight).values(region)  # by a copy, which does not keep them in the plan

    def _fit_to(self, inventory: Inventory) -> list[PlannedWeight]:
        """Plan each weight of a model by its line, for `initialize(model, plan)`.

        Args:
            inventory: The weights and layers of the model.

        Raises:
            ValueError: If the model has other weights than the plan.
        """
        weights = inventory.weights
        planned_by_path = {planned.row.path: planned for planned in self._planned}
        ours = canonical_weight_paths(inventory, weights)
        theirs = {path: planned.canonical_path for path, planned in planned_by_path.items()}
        pairs = pair_by_path(ours, theirs).worded("the plan")
        fitted = []
        problems = []
        unpaired = set(planned_by_path)
        for weight in weights:
            path = pairs.names.get(weight.path, weight.path)
            planned = planned_by_path.get(path)
            # A plan of an earlier version has no canonical paths.
            is_paired = weight.path in pairs.names or (planned and planned.canonical_path == path)
            if planned is None or not is_paired:
                reason = pairs.reasons.get(weight.path)
                problems.append(
                    f"the plan has no {weight.path!r}" + (f" ({reason})" if reason else "")
                )
                continue
            unpaired.discard(path)
            difference = _find_difference(weight, planned)
            if difference:
                problems.append(f"{weight.path!r} {difference}")
            row = replace(planned.row, path=weight.path, std=None)
            canonical_path = ours[weight.path]
            fitted.append(
                replace(planned, row=row, shown=weight.shown, canonical_path=canonical_path)
            )
        problems += [f"the model has no {path!r}" for path in planned_by_path if path in unpaired]
        if problems:
            raise ValueError(
                "`rules` must be a plan of the weights of `model`. "
                f"Received: rules={show(self)}; {truncate(sorted(problems), '; ')}"
            )
        return fitted

    def _weight(self, path: str) -> PlannedWeight:
        for weight in self._planned:
            if path in (weight.row.path, weight.shown):
                return weight
        similar = suggest_matches(path, [weight.shown for weight in self._planned])
        raise ValueError(
            f"`path` must be the path of a weight. Received: path={show(path)}{similar}"
        )

    def _weights(self) -> list[PlannedWeight]:
        return [weight for weight in self._planned if weight.row.initializer is not None]

    def _weight_columns(self) -> list[Column[PlannedWeight]]:
        return [
            Column("weight", lambda weight: weight.shown, is_text=True),
            Column("shape", lambda weight: weight.row.shape, alike="any"),
            Column("initializer", lambda weight: weight.row.initializer, is_text=True),
            Column("fan in", lambda weight: weight.row.fan_in, is_optional=True, alike="range"),
            Column("fan out", lambda weight: weight.row.fan_out, is_optional=True, alike="range"),
            Column("expected", lambda weight: format_cell(weight.row.expected_std), alike="range"),
            Column("std", lambda weight: format_cell(weight.row.std), alike="range"),
            Column("seed", lambda weight: weight.row.seed, is_optional=True, alike="any"),
        ]

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        total = len(self.rows)
        left = len(self.left)
        drawn = total - left
        verb = "to be drawn" if self.dry_run else "drawn"
        text = f"{drawn} of {total} weights {verb}"
        by_layer = sum(
            weight.is_by_layer for weight in self._planned if weight.initializer is not None
        )
        if 0 < by_layer < drawn:
            text += f" ({drawn - by_layer} by your rules, {by_layer} by their layers)"
        if left:
            text += f", {left} left unchanged"
        return f"{text}; seed {self.seed}."

    def _below(self) -> list[str]:
        lines = [self.summary, *self.notes]
        if self.left:
            lines.insert(1, self._describe_left())
        width = line_width()
        return ["", *(textwrap.fill(line, width, subsequent_indent="    ") for line in lines)]

    def _describe_left(self) -> str:
        # "Left unchanged: stem/bias and 2 more (by rule), scores (quantized)."
        paths_by_reason: dict[str, list[str]] = {}
        for weight in self._planned:
            if weight.row.initializer is None:
                paths_by_reason.setdefault(weight.row.detail, []).append(weight.shown)
        texts = []
        for reason, paths in paths_by_reason.items():
            texts.append(f"{summarize_names(paths, shown=1)} ({reason})")
        return f"Left unchanged: {', '.join(texts)}."


def _find_difference(weight: ModelWeight, planned: PlannedWeight) -> str:
    """Say how a weight differs from its line in the plan; empty if it does not differ."""
    row, initializer = planned.row, planned.initializer
    if weight.shape != row.shape:
        return f"has the shape {weight.shape}, and {row.shape} in the plan"
    if weight.dtype != row.dtype:
        return f"has the dtype {weight.dtype}, and {row.dtype} in the plan"
    if initializer is None:
        return ""
    our_zeros = kept_sparse(weight.variable)
    if our_zeros is not None and our_zeros == initializer:
        return ""  # all of its zeros are there anyway
    their_zeros = initializer.zeros if isinstance(initializer, Masked) else None
    if our_zeros != their_zeros:
        return f"keeps the zeros of {our_zeros}, and those of {their_zeros} in the plan"
    return ""


def _check_region(path: str, region: Any, shape: Shape) -> None:
    """Raise an error unless `region` has a slice for each axis of a weight."""
    required = f"`region` must be a tuple of a slice for each axis of {path!r}, of shape {shape}"
    if not isinstance(region, tuple) or not all(isinstance(item, slice) for item in region):
        raise TypeError(f"{required}. Received: region={show(region)}")
    if len(region) != len(shape):
        raise ValueError(f"{required}. Received: region={show(region)}")


def read_plan(name: str, path: str | Path) -> InitializationPlan:
    """Read the plan in a file.

    Args:
        name: Name of the argument in error messages.
        path: See `InitializationPlan.load`.
    """
    seed, weights = read_planned_weights(name, str(path))
    return InitializationPlan(weights, seed, dry_run=True)
