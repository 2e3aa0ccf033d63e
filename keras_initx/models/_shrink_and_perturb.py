"""Shrink the weights of a trained model and add noise, before it continues with more data."""

import math
from collections import Counter
from dataclasses import replace

import keras

from keras_initx._casts import overflows
from keras_initx._checks import check_flag, check_not_negative
from keras_initx._seeds import root_seed
from keras_initx._typing import Tensor
from keras_initx.backends import backend
from keras_initx.models._changes import Change, Changes
from keras_initx.models._initialize import Step, carried_out, planned
from keras_initx.models._rules import RulesOrRecipe, rules_for
from keras_initx.sampling import computing_dtype
from keras_initx.structure import ModelWeight, check_model

__all__ = ["shrink_and_perturb"]


def shrink_and_perturb(
    model: keras.Model,
    rules: RulesOrRecipe | None = None,
    *,
    shrink: float = 0.4,
    perturb: float = 0.1,
    seed: int | None = None,
    reset: bool = True,
    atomic: bool = True,
    dry_run: bool = False,
) -> Changes:
    """Replace the trainable weights of a model by `shrink * weight + perturb * fresh`, in place.

    For training that continues with more data: a model that was trained on a part of the data, and
    then on all, often ends worse than one that was trained on all from the start. `fresh` are the
    weights that `initialize` with the same `rules` and `seed` gives, so each kind of weight gets
    noise of its own size. Weights that are not trainable, such as the statistics of batch
    normalization and the weights of frozen layers, are left unchanged.

    The same weights and seed give the same result on every backend, as far as `fresh` does.

    Args:
        model: A built model.
        rules: See `initialize`, without plans. `None` instead of an initializer leaves the matching
            weights unchanged.
        shrink: Factor on the weights, a number from 0.
        perturb: Factor on the fresh weights, a number from 0. The defaults are those of the
            authors' code.
        seed: See `initialize`.
        reset: See `initialize`. The authors start with a new optimizer.
        atomic: See `initialize`.
        dry_run: If true, only say what would be changed and do not change the model.

    Returns:
        `Changes` with a row for each weight.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a factor is negative, a finite weight would become infinite, or as
            `initialize`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="logits")])
        >>> kernel = model.layers[0].kernel.assign([[1, 2], [3, 4]])
        >>> plan = shrink_and_perturb(model, {"*kernel": "identity"}, shrink=0.5, perturb=0.25)
        >>> keras.ops.convert_to_numpy(model.layers[0].kernel).tolist()
        [[0.75, 1.0], [1.5, 2.25]]

    Reference:
        Ash and Adams, "On warm-starting neural network training", NeurIPS 2020, and their code,
        `warm_start`, commit 12485d9.
    """
    check_model("model", model)
    check_not_negative("shrink", shrink)
    check_not_negative("perturb", perturb)
    check_flag("reset", reset)
    check_flag("atomic", atomic)
    check_flag("dry_run", dry_run)

    # In two steps: one that had the fresh weights as well would hold three of each.
    def perturbation(weight: ModelWeight, fresh: Tensor) -> Tensor:
        fresh = keras.ops.cast(fresh, computing_dtype(weight.dtype))
        result = float(perturb) * fresh
        if perturb > 1:
            check_holds(weight, overflows(result, fresh))
        return result

    def change(weight: ModelWeight, noise: Tensor) -> Tensor:
        old = keras.ops.cast(weight.variable.value, computing_dtype(weight.dtype))
        result = keras.ops.cast(backend.added(float(shrink) * old, noise), weight.dtype)
        check_holds(weight, overflows(result, old, noise))
        return result

    def check_holds(weight: ModelWeight, is_exceeded: bool) -> None:
        if is_exceeded:
            raise ValueError(
                "`shrink` and `perturb` must give numbers that the weights can hold. "
                f"Received: {shrink=}, {perturb=}, which give numbers beyond the range of "
                f"{weight.dtype} for {weight.path!r}"
            )

    root = root_seed(seed)
    steps = []
    for step in planned(model, rules_for(model, rules), root):
        if not step.weight.variable.trainable:
            step = _left(step)
        steps.append(step)
    if dry_run:
        plans = [step.row for step in steps]
    else:
        plans = carried_out(
            model,
            steps,
            root,
            drawn=seed is None,
            reset=reset,
            atomic=atomic,
            changes=(perturbation, change),
        ).weights
    rows = []
    for plan in plans:
        size = math.prod(plan.shape)
        row = Change(plan.path, "left", plan.reason, plan.shape, plan.dtype, size, changed=0)
        if plan.initializer is not None:
            how = f"{shrink:g} * weight + {perturb:g} * {plan.initializer}"
            row = replace(row, status="changed", how=how, changed=size)
        rows.append(row)
    counts = Counter(row.status for row in rows)
    would = "to be changed" if dry_run else "changed"
    summary = (
        f"{counts['changed']} of {len(rows)} weights {would}, {counts['left']} left, seed {root}."
    )
    return Changes(rows, summary, seed=root, dry_run=dry_run)


def _left(step: Step) -> Step:
    """Return the step of a weight that is not drawn."""
    row = replace(
        step.row,
        initializer=None,
        reason=step.row.reason or "not trainable",
        expected_std=None,
        seed=None,
    )
    return Step(step.weight, None, row)
