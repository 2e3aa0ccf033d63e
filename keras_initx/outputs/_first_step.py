"""The first step of training: outputs, loss, gradients and updates, and nothing is changed.

Gradients are kept by an optimizer that takes no step, updates made by a copy of the model's own. So
both are computed as in training, on every backend.
"""

import collections
import contextlib
import math
from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._keras import GradientKeeper, generator_states, layers_of
from keras_initx._typing import Array, Tensor
from keras_initx.backends._current import backend
from keras_initx.outputs._equal_draws import equal_draws
from keras_initx.outputs._keras_calls import EPSILONS, _values_of, labeled
from keras_initx.outputs._recorded import recorded_tensor
from keras_initx.outputs._recorded_step import (
    Kind,
    RecordedChange,
    RecordedStep,
    RecordedWeight,
    recorded_change,
)
from keras_initx.outputs._training_settings import training_settings
from keras_initx.structure._batch import Batch, array_of, floats
from keras_initx.structure._former import Former, put_back_afterward
from keras_initx.structure._hooks import HOOKS
from keras_initx.structure._optimizers import NoCopyError, copy_at_start
from keras_initx.structure._training import objective, preserved_compiled_loss, terms
from keras_initx.structure._watch import Call, Watch, Watcher
from keras_initx.structure._weights import ModelWeight, is_frozen, weights_within

# By so many epsilons weights are changed at most, see `taken`.
_CHANGE = 2
# By which a loss in float16 is multiplied at first, because its small gradients would be 0.
_LOSS_SCALE = 2.0**15
# A result that differs by more than so many epsilons where only random numbers do is random.
_MOVED = 16


class FirstStep:
    """The first step of a compiled model on a batch.

    Args:
        model: The model, which is built.
        batch: Inputs, targets and weights of the examples, as tensors.
    """

    def __init__(self, model: keras.Model, batch: Batch) -> None:
        self._model = model
        self._batch = batch
        self._layers = layers_of(model)
        self._trained: list[keras.Variable] = list(
            filter(backend.trains, model.trainable_variables)
        )
        self._weights: dict[str, ModelWeight] = {}
        for weight in weights_within(model):
            if _is_numeric(weight):
                self._weights[_distinct(weight.path, self._weights)] = weight
        self._states: dict[str, keras.Variable] = {}
        for path, weight in self._weights.items():
            if self._kind(weight) == "state":
                self._states[path] = weight.variable
        self._order = _Order(model)

    @property
    def obstacle(self) -> str:
        """Why the step cannot be taken as `fit` takes it, empty if it can."""
        if getattr(self._model.train_step, "__func__", None) is not keras.Model.train_step:
            return "the model has a `train_step` of its own"
        quantized = [layer.name for layer in self._layers if layer.quantization_mode is not None]
        if quantized:
            return f"the model is quantized: {quantized[0]}"
        if not self._trained:
            return "the model has no weights that are trained"
        return ""

    def taken(self, rng: np.random.Generator | None = None) -> RecordedStep:
        """Return what the step does. The model, its optimizer and all generators do not change.

        Args:
            rng: Generator of random numbers. With it, weights and state are first multiplied by
                `1 + 2 eps u`, with u uniform in [-1, 1].
        """
        obstacle = self.obstacle
        if obstacle:
            return RecordedStep(obstacle)
        changed = [weight.variable for weight in self._weights.values()]
        with (
            HOOKS,
            backend.full_precision(),
            backend.globals_preserved(),
            preserved_compiled_loss(self._model),
            equal_draws(),
            put_back_afterward(changed),
        ):
            if rng is not None:
                self._round_otherwise(rng)
            return self._taken()

    def is_random(self) -> bool:
        """Return whether random numbers that Keras does not draw change outputs or the loss."""
        with (
            HOOKS,
            backend.full_precision(),
            backend.globals_preserved(),
            preserved_compiled_loss(self._model),
            equal_draws(),
        ):
            results = []
            for redrawn in (False, True):
                if redrawn:
                    backend.advance_generators()
                with self._called(redrawn=redrawn) as (outputs, loss):
                    values = _values_of(labeled({"outputs": outputs, "loss": loss}))
                    results.append({place: one.array.copy() for place, one in values.items()})
        first, second = results
        bound = _MOVED * max(EPSILONS[dtype] for dtype in self._dtypes())
        return any(_moves(first[place], second.get(place), bound) for place in first)

    def _dtypes(self) -> set[str]:
        """Return the dtypes in which the model computes."""
        found = {str(layer.compute_dtype) for layer in self._layers}
        return {dtype for dtype in found if dtype in EPSILONS} or {"float32"}

    def _taken(self) -> RecordedStep:
        """Return what the step does with the present weights."""
        with self._called() as (outputs, loss):
            step = RecordedStep(
                outputs={
                    place: recorded_tensor(values)
                    for place, values in _values_of(labeled(outputs)).items()
                },
                loss=float(array_of(loss)),
                added=float(array_of(terms(self._model))),
                counts=_counts(self._batch.y),
                settings=training_settings(self._model),
            )
            new = {path: array_of(variable) for path, variable in self._states.items()}
        states = {}
        for path, variable in self._states.items():
            states[path] = recorded_change(new[path] - array_of(variable))
        gradients = self._gradients()
        updates: dict[int, RecordedChange] = {}
        without_update = ""
        try:
            optimizer = self._own_optimizer()
        except NoCopyError as error:
            without_update = f"its optimizer cannot be copied: {error.received}"
        else:
            if optimizer is None:
                without_update = "no optimizer"
            else:
                updates = self._updates(optimizer)
        weights = []
        for path, weight in self._weights.items():
            address = id(weight.variable)
            one = RecordedWeight(
                path,
                self._kind(weight),
                weight.shape,
                weight.layer.compute_dtype,
                gradients.get(address),
                updates.get(address, states.get(path)),
            )
            weights.append(one)
        weights.sort(key=lambda one: -self._order.of(self._weights[one.path]))
        return replace(step, weights=weights, without_update=without_update)

    def _kind(self, weight: ModelWeight) -> Kind:
        if any(weight.variable is one for one in self._trained):
            return "trained"
        return "frozen" if is_frozen(weight) or weight.variable.trainable else "state"

    @contextlib.contextmanager
    def _called(self, *, redrawn: bool = False) -> Iterator[tuple[Any, Tensor]]:
        """Call the model in training, and yield outputs and loss. Its state in the block is new.

        Args:
            redrawn: Whether its random generators are advanced before.
        """
        x, y, sample_weight = self._batch
        with backend.preserve_state(self._layers):
            if redrawn:
                for state in generator_states(self._layers):
                    state.assign(keras.ops.add(state.value, 1))
            with self._order.watched():
                outputs = self._model(x, training=True)
            yield outputs, objective(self._model, x, y, outputs, sample_weight)

    def _loss_of(self, x: Any, y: Any, sample_weight: Any) -> Tensor:
        outputs = self._model(x, training=True)
        return objective(self._model, x, y, outputs, sample_weight)

    def _step_by(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Take one step with an optimizer, which is built if it is not."""
        if not optimizer.built:
            optimizer.build(self._trained)
        descent = backend.descend(
            self._loss_of, self._trained, self._layers, optimizer, self._batch, 1
        )
        collections.deque(descent, maxlen=0)

    def _gradients(self) -> dict[int, RecordedChange]:
        """Return the gradients of the weights that are trained, by the id of the variable."""
        scale = None
        if "float16" in self._dtypes():
            scale = _LOSS_SCALE
        while True:
            keeper = GradientKeeper(scale)
            # A step puts weights into their constraints, also one of no length.
            with put_back_afterward(self._trained):
                self._step_by(keeper)
            found = {}
            for variable, gradient in zip(self._trained, keeper.kept, strict=True):
                found[id(variable)] = recorded_change(backend.host_view(gradient))
            are_finite = all(math.isfinite(change.norm) for change in found.values())
            if scale is None or scale == 1 or are_finite:
                return found
            scale = max(scale / 32, 1.0)

    def _own_optimizer(self) -> keras.optimizers.Optimizer | None:
        """Return a copy of the optimizer of the model, at its start."""
        optimizer = self._model.optimizer
        if optimizer is None:
            return None
        return copy_at_start(optimizer, self._trained)

    def _updates(self, optimizer: keras.optimizers.Optimizer) -> dict[int, RecordedChange]:
        """Return what the step adds to the weights that are trained, by the id of the variable."""
        found = {}
        with put_back_afterward(self._trained) as former:
            self._step_by(optimizer)
            for variable in self._trained:
                added = _difference(variable, former)
                found[id(variable)] = recorded_change(added)
        return found

    def _round_otherwise(self, rng: np.random.Generator) -> None:
        """Change all weights and the state by what may be rounding."""
        for weight in self._weights.values():
            if weight.dtype not in EPSILONS:
                continue
            epsilon = max(
                EPSILONS[dtype]
                for dtype in (weight.dtype, weight.layer.compute_dtype)
                if dtype in EPSILONS
            )
            values = floats(backend.host_view(weight.variable))
            noise = rng.random(values.shape, dtype="float32") * 2 - 1
            changed = values * (1 + _CHANGE * epsilon * noise.astype(values.dtype))
            weight.variable.assign(keras.ops.convert_to_tensor(changed, weight.dtype))


class _Order(Watcher):
    """The order in which layers are called."""

    def __init__(self, model: keras.Model) -> None:
        self._watch = Watch(model)
        self._places: dict[keras.Operation, int] = {}
        self._count = 0

    def watched(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which calls are heard of."""
        return self._watch.watching(self)

    def after(self, call: Call) -> None:
        self._count += 1
        self._places[call.operation] = self._count

    def of(self, weight: ModelWeight) -> int:
        """Return the place of the last call of the layer of a weight, 0 if there was none.

        A cell is called with the recurrent layer around it.
        """
        for layer in reversed(weight.layers):
            if layer in self._places:
                return self._places[layer]
        return 0


def _is_numeric(weight: ModelWeight) -> bool:
    return weight.dtype in EPSILONS or weight.dtype.startswith(("int", "uint"))


def _distinct(path: str, taken: Container[str]) -> str:
    """Return a path, with a number if another weight has it."""
    found = path
    number = 1
    while found in taken:
        number += 1
        found = f"{path} ({number})"
    return found


def _moves(first: Array, second: Array | None, bound: float) -> bool:
    """Return whether values differ by more than some share of their size."""
    if second is None or first.shape != second.shape:
        return True
    before, after = floats(first).astype("float64"), floats(second).astype("float64")
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.sqrt(np.mean(np.square(before)))
        moved = np.sqrt(np.mean(np.square(before - after)))
    return bool(moved > bound * size)  # not where one is NaN


def _difference(variable: keras.Variable, former: Former) -> Array:
    """Return by how much a variable is more than its former value."""
    difference: Array = floats(backend.host_view(variable)) - floats(
        backend.host_view(former.of(variable))
    )
    return difference


def _counts(y: Any) -> dict[int, str]:
    """Return what there is in the targets, by its number, by which a sum is more than a mean."""
    found: dict[int, str] = {}
    for target in keras.tree.flatten(y):
        if target is None:
            continue
        examples, *inner = target.shape
        positions = math.prod(inner[:-1])
        values = math.prod(inner)
        numbers = {
            examples: "examples",
            examples * values: "values in the targets",
            examples * positions: "positions in the targets",
            values: "values in the target of an example",
            positions: "positions in the target of an example",
        }
        for number, name in numbers.items():
            if number > 1:
                found.setdefault(int(number), name)
    return found
