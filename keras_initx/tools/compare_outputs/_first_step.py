"""The first step of training: outputs, loss, gradients and updates, and nothing is changed.

Gradients are kept by an optimizer that takes no step, updates made by a copy of the model's own. So
both are computed as in training, on every backend.
"""

import collections
import math
from collections.abc import Collection, Container, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._checks import EPSILONS
from keras_initx._keras import GradientKeeper, generator_states, list_layers
from keras_initx._startup import BACKENDS
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import Batch, to_array, to_floats
from keras_initx.inspection._former_values import FormerValues, preserve_variables
from keras_initx.inspection._hooks import HOOKS
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._optimizers import NoCopyError, copy_initial_optimizer
from keras_initx.inspection._training import (
    compute_objective,
    computes_own_loss,
    preserve_compiled_loss,
    sum_added_losses,
)
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.inspection._weights import ModelWeight, is_frozen
from keras_initx.tools.compare_outputs._equal_draws import Draws, equal_draws
from keras_initx.tools.compare_outputs._reading import (
    labeled,
    operation_paths,
    operation_places,
    values_of,
)
from keras_initx.tools.compare_outputs._recorded import RecordedCall, Recorder, recorded_tensor
from keras_initx.tools.compare_outputs._recorded_step import (
    RUNS,
    Kind,
    RecordedChange,
    RecordedStep,
    RecordedWeight,
    recorded_change,
    recorded_targets,
    rounded_otherwise,
    with_rounding,
)
from keras_initx.tools.compare_outputs._samples import RecordedTensor
from keras_initx.tools.compare_outputs._training_settings import training_settings

_SHORT = ("float16", "bfloat16")
WITHOUT_LOSS = "the model has no loss"
# A result that differs by more than so many of these where only random numbers do is random.
_MOVED = 16


def trains_on(model: keras.Model, batch: Batch, *, is_required: bool) -> bool:
    """Return whether a model is to take a step on a batch: it is compiled, and has what it needs.

    That is targets, or no compiled loss, so that `fit` takes none: `add_loss` may have one.

    Args:
        model: The model.
        batch: The batch.
        is_required: Whether targets were given as `y`.

    Raises:
        ValueError: If the step is required, and the model is not compiled, or is on several
            replicas.
    """
    # Of a model of TensorFlow, also outside of the scope in which it was made.
    strategy = getattr(model, "distribute_strategy", None)
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    if is_required and not model.compiled:
        raise ValueError(
            "`y` needs a compiled model, with a loss and an optimizer. "
            f"Received: y, and model={model.name!r}, which is not compiled"
        )
    if is_required and replicas > 1:
        raise ValueError(
            f"`y` needs a model on one replica. Received: y, and a model on {replicas} replicas"
        )
    if not model.compiled or replicas > 1:
        return False
    return batch.y is not None or (model.loss is None and not computes_own_loss(model))


class FirstStep:
    """The first step of a compiled model on a batch.

    Args:
        inventory: What the model holds, which is built.
        batch: Inputs, targets and weights of the examples, as tensors.
        kept_at: Dict from the paths of weights to the places whose values are kept, where these do
            not follow from the shape.
        lengths: The shapes of the outputs that it is compared with, see `Recorder`.
    """

    def __init__(
        self,
        inventory: Inventory,
        batch: Batch,
        kept_at: Mapping[str, Array] | None = None,
        lengths: Collection[Shape] = (),
    ) -> None:
        model = inventory.model
        self._inventory = inventory
        self._model = model
        self._batch = batch
        self._layers = list_layers(model)
        self._trained: list[keras.Variable] = list(
            filter(backend.trains, model.trainable_variables)
        )
        self._weights: dict[str, ModelWeight] = {}
        for weight in inventory.weights:
            if _is_numeric(weight):
                self._weights[_distinct(weight.path, self._weights)] = weight
        self._kept_at: dict[int, Array] = {}
        for path, weight in self._weights.items():  # which buffers of torch are not among
            if kept_at and path in kept_at:
                self._kept_at[id(weight.variable)] = kept_at[path]
        self._lengths = lengths

    def recorded(self, *, is_whole: bool = False) -> RecordedStep:
        """Return what the step does, or why it is not known. Nothing has changed afterward.

        What rounding makes of it is measured in more runs, from weights that are rounded otherwise.

        Args:
            is_whole: Whether it is measured of the loss, of state and of updates too, which the
                side that is compared does for both; of gradients each side does.
        """
        obstacle = self._obstacle() or self._obstacle_in_call()
        if obstacle:
            return RecordedStep(obstacle)
        step = self.taken()
        if not is_whole and step.without_gradients:
            return step
        rngs = map(np.random.default_rng, range(RUNS))
        runs = [self.taken(rng, is_whole=is_whole) for rng in rngs]
        by_path = [{weight.path: weight for weight in run.weights} for run in runs]
        weights = []
        for weight in step.weights:
            others = [run[weight.path] for run in by_path]
            gradient = with_rounding(weight.gradient, [other.gradient for other in others])
            update = with_rounding(weight.update, [other.update for other in others])
            weights.append(replace(weight, gradient=gradient, update=update))
        losses = [run.loss for run in (step, *runs) if not math.isnan(run.loss)]
        deviation = float(np.std(losses, ddof=1)) if len(losses) > 1 else 0.0
        return replace(step, weights=weights, loss_rounding=deviation)

    def calls(self) -> list[RecordedCall]:
        """Return the calls of the model in training, the last of which is its own."""
        paths, places = operation_paths(self._inventory), operation_places(self._inventory)
        recorder = Recorder(self._model, paths, places)
        with backend.full_precision(), equal_draws():
            Watch(self._inventory).observe(self._batch.x, recorder, training=True)
        return recorder.calls

    def taken(
        self, rng: np.random.Generator | None = None, *, is_whole: bool = True
    ) -> RecordedStep:
        """Return what the step does. The model, its optimizer and all generators do not change.

        Args:
            rng: Generator of random numbers. With it, weights and state are first multiplied by
                `1 + 2 eps u`, with u uniform in [-1, 1].
            is_whole: Whether to take all of it, and not only the gradients.
        """
        changed = [weight.variable for weight in self._weights.values()]
        with (
            HOOKS,
            backend.full_precision(),
            backend.globals_preserved(),
            preserve_compiled_loss(self._model),
            preserve_variables(changed),
        ):
            if rng is not None:
                self._round_otherwise(rng)
            return self._taken() if is_whole else self._taken_gradients()

    def _obstacle(self) -> str:
        """Return why the step cannot be taken as `fit` takes it, empty if it can."""
        if getattr(self._model.train_step, "__func__", None) is not keras.Model.train_step:
            return "the model has a `train_step` of its own"
        for layer in self._layers:
            if layer.quantization_mode is not None:
                return f"the layer {layer.name!r} is quantized"
        if not self._trained:
            return "no weight is trained"
        if keras.backend.backend() not in BACKENDS:
            return f"there are no gradients on the backend {keras.backend.backend()}"
        return ""

    def _obstacle_in_call(self) -> str:
        """Return why what the model computes in training is no loss, or is not the same again."""
        results = []
        with (
            HOOKS,
            backend.full_precision(),
            backend.globals_preserved(),
            preserve_compiled_loss(self._model),
        ):
            for is_redrawn in (False, True):
                if is_redrawn:
                    backend.advance_generators()
                called = self._called(is_redrawn=is_redrawn)
                if not called.has_loss:
                    return WITHOUT_LOSS
                if called.draws.repeated:
                    return called.draws.obstacle_in_itself
                values = {place: tensor.own_values for place, tensor in called.outputs.items()}
                results.append({**values, "loss": np.array([called.loss])})
        first, second = results
        bound = _MOVED * max(EPSILONS.get(layer.compute_dtype, 0.0) for layer in self._layers)
        if any(_moves(first[place], second.get(place), bound) for place in first):
            return "it is random: the model draws numbers by other means than `keras.random`"
        return ""

    def _called(self, *, is_redrawn: bool = False) -> "_Call":
        """Call the model in training.

        Args:
            is_redrawn: Whether its random generators are advanced before.
        """
        states = {}
        for path, weight in self._weights.items():
            if self._kind(weight) == "state":
                states[path] = weight.variable
        called = _Call(self._model, self._batch, states, self._lengths)
        if is_redrawn:
            called.redrawn = generator_states(self._layers)
        with equal_draws() as called.draws:
            Watch(self._inventory).observe(self._batch.x, called, training=True)
        return called

    def _taken_gradients(self) -> RecordedStep:
        """Return the gradients of the weights that are trained alone."""
        gradients = self._gradients()
        weights = []
        for path, weight in self._weights.items():
            gradient = gradients.get(id(weight.variable))
            one = RecordedWeight(path, self._kind(weight), weight.shape, "", gradient)
            weights.append(one)
        return RecordedStep(weights=weights)

    def _taken(self) -> RecordedStep:
        """Return what the step does with the present weights."""
        called = self._called()
        settings = training_settings(self._model)
        step = RecordedStep(
            targets=recorded_targets(self._batch.y),
            sample_weights=recorded_targets(self._batch.sample_weight),
            by_backend=called.draws.by_backend,
            outputs=called.outputs,
            loss=called.loss,
            added=called.added,
            summed=called.summed,
            counts=_counts(self._batch.y),
            without_gradients=self._without_gradients(),
            settings=settings.values,
            unread=settings.unread,
        )
        gradients: dict[int, RecordedChange] = {}
        updates: dict[int, RecordedChange] = {}
        without_updates = step.without_gradients
        if not step.without_gradients:
            gradients = self._gradients()
            without_updates, updates = self._updates()
        weights = []
        for path, weight in self._weights.items():
            address = id(weight.variable)
            update = updates.get(address)
            if path in called.new:
                update = self._change(weight.variable, called.new[path] - to_array(weight.variable))
            one = RecordedWeight(
                path,
                self._kind(weight),
                weight.shape,
                weight.layer.compute_dtype,
                gradients.get(address),
                update,
                _rounding(weight),
            )
            weights.append(one)
        weights.sort(key=lambda one: -called.place_of(self._weights[one.path]))
        return replace(step, weights=weights, without_updates=without_updates)

    def _kind(self, weight: ModelWeight) -> Kind:
        if any(weight.variable is one for one in self._trained):
            return "trained"
        return "frozen" if is_frozen(weight) or weight.variable.trainable else "state"

    def _without_gradients(self) -> str:
        """Return why gradients are not known, empty if they are.

        In 16 bits what is rounding in them was not found by any measurement.
        """
        dtypes = {layer.compute_dtype for layer in self._layers}
        dtypes.update(weight.dtype for weight in self._weights.values())
        found = dtypes.intersection(_SHORT)
        return f"computed in {min(found)}: compare in float32" if found else ""

    def _loss_of(self, x: Any, y: Any, sample_weight: Any) -> Tensor:
        outputs = self._model(x, training=True)
        return compute_objective(self._model, x, y, outputs, sample_weight)

    def _step_by(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Take one step with an optimizer."""
        if not optimizer.built:
            optimizer.build(self._trained)
        with equal_draws():
            descent = backend.descend(
                self._loss_of, self._trained, self._layers, optimizer, self._batch, 1
            )
            collections.deque(descent, maxlen=0)

    def _gradients(self) -> dict[int, RecordedChange]:
        """Return the gradients of the weights that are trained, by the ids of the variables."""
        keeper: Any = GradientKeeper()
        # A step puts weights into their constraints, also one of no length.
        with preserve_variables(self._trained):
            self._step_by(keeper)
        found = {}
        for variable, gradient in zip(self._trained, keeper.kept, strict=True):
            found[id(variable)] = self._change(variable, backend.host_view(gradient))
        return found

    def _updates(self) -> tuple[str, dict[int, RecordedChange]]:
        """Return why updates are not known, and what a step adds to each weight that is trained.

        It is made by a copy of the optimizer of the model, at its start.
        """
        optimizer = self._model.optimizer
        if optimizer is None:
            return "the model has no optimizer", {}
        try:
            copied = copy_initial_optimizer(optimizer, self._trained)
        except NoCopyError as error:
            return f"there is no copy of the optimizer, {error.received}", {}
        found = {}
        with preserve_variables(self._trained) as former:
            self._step_by(copied)
            for variable in self._trained:
                found[id(variable)] = self._change(variable, _difference(variable, former))
        return "", found

    def _change(self, variable: keras.Variable, values: Array) -> RecordedChange:
        return recorded_change(values, self._kept_at.get(id(variable)))

    def _round_otherwise(self, rng: np.random.Generator) -> None:
        """Change all weights and the state by what may be rounding."""
        for weight in self._weights.values():
            if weight.dtype not in EPSILONS:
                continue
            computed = EPSILONS.get(weight.layer.compute_dtype, 0.0)
            epsilon = max(EPSILONS[weight.dtype], computed)
            values = to_floats(backend.host_view(weight.variable))
            changed = rounded_otherwise(rng, values, epsilon)
            weight.variable.assign(keras.ops.convert_to_tensor(changed, weight.dtype))


class _Call(Watcher):
    """A call of a model in training.

    Args:
        model: The model.
        batch: The batch.
        states: The variables that the call may change.
        lengths: See `FirstStep`.

    Attributes:
        redrawn: The states of random generators that are advanced before it.
        outputs: Dict from the places of its outputs to tensors.
        has_loss: Whether there is any.
        loss: The loss.
        added: What is added to that of the outputs.
        summed: How many values a normalization sums for one, at most.
        new: The new values of the states.
        draws: What it has drawn.
    """

    def __init__(
        self,
        model: keras.Model,
        batch: Batch,
        states: dict[str, keras.Variable],
        lengths: Collection[Shape],
    ) -> None:
        self._model = model
        self._batch = batch
        self._states = states
        self._lengths = lengths
        self._places: dict[Any, int] = {}
        self._count = 0
        self.redrawn: list[keras.Variable] = []
        self.outputs: dict[str, RecordedTensor] = {}
        self.has_loss: bool = False
        self.loss: float = math.nan
        self.added: float = 0.0
        self.summed: int = 0
        self.new: dict[str, Array] = {}
        self.draws: Draws = Draws()

    def before(self, call: Call) -> None:
        for state in self.redrawn:
            state.assign(keras.ops.add(state.value, 1))
        self.redrawn = []

    def after(self, call: Call) -> None:
        self._count += 1
        self._places[call.operation] = self._count
        if isinstance(call.operation, keras.layers.BatchNormalization):
            shape = keras.tree.flatten([call.args, call.kwargs])[0].shape
            self.summed = max(self.summed, math.prod(shape) // shape[call.operation.axis])

    def finish(self, outputs: Any) -> None:
        x, y, sample_weight = self._batch
        for place, value in labeled(outputs):
            values = values_of(value)
            if values is not None:
                self.outputs[place] = recorded_tensor(values)
                self.outputs[place].keep(values.array, self._lengths)
        has_own = computes_own_loss(self._model)
        self.has_loss = bool(self._model.loss is not None or has_own or self._model.losses)
        if not self.has_loss:
            return
        loss = compute_objective(self._model, x, y, outputs, sample_weight)
        self.loss = float(to_array(keras.ops.convert_to_tensor(loss)))
        self.added = float(to_array(sum_added_losses(self._model)))
        self.new = {path: to_array(variable) for path, variable in self._states.items()}

    def place_of(self, weight: ModelWeight) -> int:
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
    before, after = to_floats(first).astype("float64"), to_floats(second).astype("float64")
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.sqrt(np.mean(np.square(before)))
        moved = np.sqrt(np.mean(np.square(before - after)))
    return bool(moved > bound * size)  # not where one is NaN


def _difference(variable: keras.Variable, former: FormerValues) -> Array:
    """Return by how much a variable is more than its former value."""
    difference: Array = to_floats(backend.host_view(variable)) - to_floats(
        backend.host_view(former.value_of(variable))
    )
    return difference


def _rounding(weight: ModelWeight) -> float:
    """Return by how much the values of a weight are rounded, as a root mean square."""
    if weight.dtype not in EPSILONS:
        return 0.0
    values = to_floats(backend.host_view(weight.variable)).astype("float64")
    return EPSILONS[weight.dtype] / 2 * math.sqrt(np.mean(np.square(values)) if values.size else 0)


def _counts(y: Any) -> dict[int, str]:
    """Return what there is in the targets, by its number, by which a sum is more than a mean."""
    found: dict[int, str] = {}
    for target in keras.tree.flatten(y):
        if target is None:
            continue
        examples, *inner = target.shape
        positions = math.prod(inner[:-1])
        values = math.prod(inner)
        # Where two are the same number, the first is said.
        numbers = (
            (examples, "examples"),
            (examples * values, "values in the targets"),
            (examples * positions, "positions in the targets"),
            (values, "values in the target of an example"),
            (positions, "positions in the target of an example"),
        )
        for number, name in numbers:
            if number > 1:
                found.setdefault(int(number), name)
    return found
