"""Take the first step of training of a Keras model, record it, and put everything back.

A *step* is one call in training, the loss, the gradient of each weight, and its *update*: the
change by the optimizer. A weight is *trained* (the optimizer changes it), *frozen*, or *state* (the
call changes it, such as a moving average). One weight of a `RecordedStep`:

    RecordedWeight("dense/kernel", "trained", (3, 2), "float32", gradient, update, rounding)

An optimizer that takes no step records the gradients. A copy of the model's own optimizer makes the
updates. So both are computed like in training, on every backend. An *obstacle* is the reason, in
words, why a value is not known. It is empty if the value is known.
"""

import collections
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._checks import EPSILONS
from keras_initx._keras import (
    GradientKeeper,
    generator_states,
    index_in_optimizer,
    list_layers,
)
from keras_initx._received import show
from keras_initx._startup import BACKENDS
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.backends._moments import compute_rms
from keras_initx.inspection._batch import Batch, to_array, to_floats
from keras_initx.inspection._former_values import FormerValues, preserve_variables
from keras_initx.inspection._hooks import HOOKS
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._names import make_distinct
from keras_initx.inspection._optimizers import NoCopyError, copy_initial_optimizer
from keras_initx.inspection._training import (
    compute_objective,
    computes_own_loss,
    preserve_compiled_loss,
    sum_added_losses,
)
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.inspection._weights import ModelWeight, is_frozen
from keras_initx.tools.compare_outputs._draws import (
    advance_generators,
    dropout_off,
    name_drawing_calls,
    read_rates,
    record_twice,
)
from keras_initx.tools.compare_outputs._reading import (
    label_members,
    name_modules,
    read_values,
)
from keras_initx.tools.compare_outputs._recorded import RecordedCall, record_calls, record_tensor
from keras_initx.tools.compare_outputs._recorded_step import (
    RUNS,
    Kind,
    RecordedChange,
    RecordedStep,
    RecordedWeight,
    add_measured_rounding,
    perturb_by_rounding,
    record_change,
    record_targets,
)
from keras_initx.tools.compare_outputs._samples import RecordedTensor
from keras_initx.tools.compare_outputs._training_settings import read_training_settings

_SHORT = ("float16", "bfloat16")
WITHOUT_LOSS = "the model has no loss"
# A result that moves by more than so many epsilons when only generators have advanced is random.
_MOVED = 16


def may_take_step(model: keras.Model, batch: Batch, *, is_required: bool) -> bool:
    """Say whether a model may take a step on a batch: it is compiled, and has what its loss needs.

    A loss needs targets. Without a compiled loss, `fit` takes no targets, and `add_loss` may have a
    loss.

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
            f"Received: y, and model={show(model.name)}, which is not compiled"
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
        inventory: The weights and layers of the model, which is built.
        batch: Inputs, targets and weights of the examples, as tensors.
        indices_by_path: Dict from the paths of weights to the flat indices of the values that are
            kept, for weights for which these do not follow from the shape.
        other_shapes: The shapes of the outputs that it is compared with, see `Recorder`.
        has_updates: Whether to take the step of the optimizer too.
    """

    def __init__(
        self,
        inventory: Inventory,
        batch: Batch,
        indices_by_path: Mapping[str, Array] | None = None,
        other_shapes: Collection[Shape] = (),
        *,
        has_updates: bool = True,
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
        paths: set[str] = set()
        for weight in inventory.weights:
            if _is_numeric(weight):
                self._weights[make_distinct(weight.path, paths)] = weight
        self._indices: dict[int, Array] = {}  # by the ids of variables
        for path, weight in self._weights.items():  # buffers of torch are not among them
            if indices_by_path and path in indices_by_path:
                self._indices[id(weight.variable)] = indices_by_path[path]
        self._other_shapes = other_shapes
        self._has_updates = has_updates
        # The ids of variables whose gradients have a row for each use.
        self._in_rows: set[int] = set()
        # The paths of layers, also of the cells in loops, and of modules of torch in them.
        self._paths: dict[Any, str] = {}
        for entry in inventory.layers:
            self._paths.setdefault(entry.layer, entry.path)
            if isinstance(entry.layer, keras.layers.TorchModuleWrapper):
                for module, name in name_modules(entry.layer.module).items():
                    self._paths[module] = f"{entry.path}/{name}"
        self._rates = read_rates(self._paths)

    def record(self, *, is_whole: bool = False) -> RecordedStep:
        """Take the step and record it, or why it is not known. Nothing has changed afterward.

        `RUNS` more runs measure its rounding, from weights that differ by no more than rounding.

        Args:
            is_whole: Whether to measure the rounding of the loss, of state and of updates too. Each
                side measures the rounding of gradients. The comparing side measures the rest, for
                both.
        """
        obstacle = self._find_model_obstacle() or self._find_call_obstacle()
        if obstacle:
            return RecordedStep(obstacle)
        step = self.take()
        if not is_whole and step.without_gradients:
            return step
        rngs = map(np.random.default_rng, range(RUNS))
        runs = [self.take(rng, is_whole=is_whole) for rng in rngs]
        by_path = [{weight.path: weight for weight in run.weights} for run in runs]
        weights = []
        for weight in step.weights:
            repeats = [run[weight.path] for run in by_path]
            gradient = add_measured_rounding(
                weight.gradient, [repeat.gradient for repeat in repeats]
            )
            update = add_measured_rounding(weight.update, [repeat.update for repeat in repeats])
            weights.append(replace(weight, gradient=gradient, update=update))
        losses = [run.loss for run in (step, *runs) if not math.isnan(run.loss)]
        deviation = float(np.std(losses, ddof=1)) if len(losses) > 1 else 0.0
        return replace(step, weights=weights, loss_rounding=deviation)

    def record_calls(self) -> list[RecordedCall]:
        """Record the calls of the model in training. The last call is its own."""
        with dropout_off([*self._paths]):
            return record_calls(self._inventory, self._batch.x, training=True)

    def take(
        self, rng: np.random.Generator | None = None, *, is_whole: bool = True
    ) -> RecordedStep:
        """Take the step. The model, its optimizer and all generators do not change.

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
            dropout_off([*self._paths]),
        ):
            if rng is not None:
                self._perturb_weights(rng)
            return self._take_whole() if is_whole else self._take_gradients()

    def _find_model_obstacle(self) -> str:
        """Say why the step cannot be taken as `fit` takes it, empty if it can."""
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

    def _find_call_obstacle(self) -> str:
        """Say why the model computes no loss in training, or another one when it is called again.

        It is called twice, with advanced generators the second time. Dropout is off, so what still
        moves is drawn by other layers.
        """
        results = []
        states = generator_states(self._layers)
        with (
            HOOKS,
            backend.full_precision(),
            backend.globals_preserved(),
            preserve_compiled_loss(self._model),
            preserve_variables(states),
            dropout_off([*self._paths]),
        ):
            for _ in range(2):
                called = self._call_in_training()
                if not called.has_loss:
                    return WITHOUT_LOSS
                values = {label: tensor.own_values for label, tensor in called.outputs.items()}
                results.append({**values, "loss": np.array([called.loss])})
                advance_generators(states)
            first, second = results
            epsilons = [EPSILONS.get(layer.compute_dtype, 0.0) for layer in self._layers]
            tolerance = _MOVED * max(epsilons)
            if not any(_has_moved(first[label], second.get(label), tolerance) for label in first):
                return ""
            names = name_drawing_calls(*record_twice(self._inventory, self._batch.x, training=True))
            return f"the model draws random numbers{names}"

    def _call_in_training(self) -> "_TrainingCall":
        """Call the model in training."""
        states = {}
        for path, weight in self._weights.items():
            if self._classify(weight) == "state":
                states[path] = weight.variable
        generators = generator_states(self._layers)
        called = _TrainingCall(self._model, self._batch, states, generators, self._other_shapes)
        Watch(self._inventory).observe(self._batch.x, called, training=True)
        return called

    def _take_gradients(self) -> RecordedStep:
        """Compute the gradients of the weights that are trained, and nothing else."""
        gradients = self._record_gradients(self._compute_gradients())
        weights = []
        for path, weight in self._weights.items():
            gradient = gradients.get(id(weight.variable))
            weights.append(RecordedWeight(path, self._classify(weight), weight.shape, "", gradient))
        return RecordedStep(weights=weights)

    def _take_whole(self) -> RecordedStep:
        """Take the step from the present weights, with updates and settings."""
        called = self._call_in_training()
        settings = read_training_settings(self._model)
        step = RecordedStep(
            targets=record_targets(self._batch.y),
            sample_weights=record_targets(self._batch.sample_weight),
            rates=self._rates,
            has_drawn=called.has_drawn,
            outputs=called.outputs,
            loss=called.loss,
            added=called.added,
            summed=called.summed,
            counts=_name_counts(self._batch.y),
            without_gradients=self._find_gradient_obstacle(),
            settings=settings.values,
            unread=settings.unread,
        )
        gradients: dict[int, RecordedChange] = {}
        updates = _Updates(step.without_gradients)
        if not step.without_gradients:
            computed = self._compute_gradients()
            gradients = self._record_gradients(computed)
            if self._has_updates:
                updates = self._compute_updates(computed)
        weights = []
        for path, weight in self._weights.items():
            address = id(weight.variable)
            update = updates.by_id.get(address)
            if path in called.new:
                update = self._record_change(
                    weight.variable, called.new[path] - to_array(weight.variable)
                )
            recorded = RecordedWeight(
                path,
                self._classify(weight),
                weight.shape,
                weight.layer.compute_dtype,
                gradients.get(address),
                update,
                _compute_rounding(weight),
                has_row_gradients=address in self._in_rows,
            )
            weights.append(recorded)
        # The last layer first: the way back from the loss.
        weights.sort(key=lambda weight: -called.find_last_call(self._weights[weight.path]))
        return replace(step, weights=weights, without_updates=updates.obstacle)

    def _classify(self, weight: ModelWeight) -> Kind:
        if any(weight.variable is variable for variable in self._trained):
            return "trained"
        return "frozen" if is_frozen(weight) or weight.variable.trainable else "state"

    def _find_gradient_obstacle(self) -> str:
        # In 16 bits, no measurement told the rounding of gradients from a difference.
        dtypes = {layer.compute_dtype for layer in self._layers}
        dtypes.update(weight.dtype for weight in self._weights.values())
        short = dtypes.intersection(_SHORT)
        return f"computed in {min(short)}: compare in float32" if short else ""

    def _compute_loss(self, x: Any, y: Any, sample_weight: Any) -> Tensor:
        outputs = self._model(x, training=True)
        return compute_objective(self._model, x, y, outputs, sample_weight)

    def _step_with(
        self,
        optimizer: keras.optimizers.Optimizer,
        function: Callable[..., Tensor],
        arguments: Sequence[Any],
    ) -> None:
        """Take the step of an optimizer down a function of the weights and of these arguments."""
        if not optimizer.built:
            optimizer.build(self._trained)
        descent = backend.descend(function, self._trained, self._layers, optimizer, arguments, 1)
        collections.deque(descent, maxlen=0)

    def _compute_gradients(self) -> "_ComputedGradients":
        """Compute the gradients of the weights that are trained."""
        computed = _ComputedGradients()
        # A step of no length puts weights into their constraints too.
        with preserve_variables(self._trained):
            self._step_with(computed, self._compute_loss, self._batch)
        self._in_rows = {id(self._trained[position]) for position in computed.in_rows}
        return computed

    def _record_gradients(self, computed: "_ComputedGradients") -> dict[int, RecordedChange]:
        """Record gradients, by the ids of the variables."""
        gradients = {}
        for variable, gradient in zip(self._trained, computed.kept, strict=True):
            gradients[id(variable)] = self._record_change(variable, backend.host_view(gradient))
        return gradients

    def _compute_updates(self, computed: "_ComputedGradients") -> "_Updates":
        """Take a step with a copy of the optimizer of the model, in its first state."""
        optimizer = self._model.optimizer
        if optimizer is None:
            return _Updates("the model has no optimizer")
        try:
            copied = copy_initial_optimizer(optimizer, self._trained)
        except NoCopyError as error:
            return _Updates(f"there is no copy of the optimizer, {error.received}")
        updates = {}
        with preserve_variables(self._trained) as former:
            if computed.in_rows:  # an optimizer may treat rows in another way than their sum
                self._step_with(copied, self._compute_loss, self._batch)
            elif computed.reached:  # otherwise a step changes nothing
                self._step_by_gradients(copied, computed)
            for variable in self._trained:
                increase = _compute_increase(variable, former)
                updates[id(variable)] = self._record_change(variable, increase)
        return _Updates(by_id=updates)

    def _step_by_gradients(
        self, optimizer: keras.optimizers.Optimizer, computed: "_ComputedGradients"
    ) -> None:
        """Take the step of an optimizer with gradients that are known.

        They are exactly the gradients of the sum of all weights times them, which takes a moment,
        while the loss takes another pass through the model.
        """
        positions = sorted(computed.reached)
        weights = [self._trained[position] for position in positions]
        gradients = [computed.kept[position].value for position in positions]

        def sum_products(*gradients: Tensor) -> Tensor:
            products = []
            for weight, gradient in zip(weights, gradients, strict=True):
                products.append(keras.ops.sum(keras.ops.multiply(weight, gradient)))
            return keras.ops.sum(keras.ops.stack(products))

        self._step_with(optimizer, sum_products, gradients)

    def _record_change(self, variable: keras.Variable, values: Array) -> RecordedChange:
        return record_change(values, self._indices.get(id(variable)))

    def _perturb_weights(self, rng: np.random.Generator) -> None:
        for weight in self._weights.values():
            if weight.dtype not in EPSILONS:
                continue
            computed = EPSILONS.get(weight.layer.compute_dtype, 0.0)
            epsilon = max(EPSILONS[weight.dtype], computed)
            values = to_floats(backend.host_view(weight.variable))
            changed = perturb_by_rounding(rng, values, epsilon)
            weight.variable.assign(keras.ops.convert_to_tensor(changed, weight.dtype))


class _Updates(NamedTuple):
    """The change of each trained weight by a step.

    Attributes:
        obstacle: Why it is not known, empty if it is.
        by_id: Dict from the ids of variables to their changes.
    """

    obstacle: str = ""
    by_id: Mapping[int, RecordedChange] = {}


class _ComputedGradients(GradientKeeper):
    """A keeper that notes which gradients there are.

    Attributes:
        reached: The positions in `kept` of the weights that have a gradient.
        in_rows: The positions of gradients with a row for each use, and not their sum. TensorFlow
            gives such gradients to embeddings: `IndexedSlices`, with the shape of the whole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reached: set[int] = set()
        self.in_rows: set[int] = set()

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        position = index_in_optimizer(self, variable)
        self.reached.add(position)
        if hasattr(gradient, "dense_shape"):
            self.in_rows.add(position)
        super().update_step(gradient, variable, learning_rate)


class _TrainingCall(Watcher):
    """A call of a model in training, which computes its loss when it ends.

    Args:
        model: The model.
        batch: The batch.
        states: The variables that the call may change.
        generators: The states of the random generators of Keras.
        other_shapes: See `FirstStep`.

    Attributes:
        outputs: Dict from the labels of its outputs (`"0"`, `"logits"`) to tensors.
        has_loss: Whether there is any loss.
        loss: The loss.
        added: The part of the loss from regularizers and `add_loss`.
        summed: How many values a normalization sums for one statistic, at most.
        new: The new values of the states.
        has_drawn: Whether a generator of Keras has drawn.
    """

    def __init__(
        self,
        model: keras.Model,
        batch: Batch,
        states: dict[str, keras.Variable],
        generators: Sequence[keras.Variable],
        other_shapes: Collection[Shape],
    ) -> None:
        self._model = model
        self._batch = batch
        self._states = states
        self._other_shapes = other_shapes
        self._call_numbers: dict[Any, int] = {}
        self._count = 0
        self._generators = generators
        self._former = list(map(to_array, generators))
        self.outputs: dict[str, RecordedTensor] = {}
        self.has_loss: bool = False
        self.loss: float = math.nan
        self.added: float = 0.0
        self.summed: int = 0
        self.new: dict[str, Array] = {}
        self.has_drawn: bool = False

    def after(self, call: Call) -> None:
        self._count += 1
        self._call_numbers[call.operation] = self._count
        if isinstance(call.operation, keras.layers.BatchNormalization):
            shape = keras.tree.flatten([call.args, call.kwargs])[0].shape
            self.summed = max(self.summed, math.prod(shape) // shape[call.operation.axis])

    def finish(self, outputs: Any) -> None:
        x, y, sample_weight = self._batch
        for label, value in label_members(outputs):
            values = read_values(value)
            if values is not None:
                self.outputs[label] = record_tensor(values)
                self.outputs[label].keep(values.array, self._other_shapes)
        has_own = computes_own_loss(self._model)
        self.has_loss = bool(self._model.loss is not None or has_own or self._model.losses)
        if not self.has_loss:
            return
        loss = compute_objective(self._model, x, y, outputs, sample_weight)
        self.loss = float(to_array(keras.ops.convert_to_tensor(loss)))
        self.added = float(to_array(sum_added_losses(self._model)))
        self.new = {path: to_array(variable) for path, variable in self._states.items()}
        present = map(to_array, self._generators)
        self.has_drawn = not all(map(np.array_equal, self._former, present))

    def find_last_call(self, weight: ModelWeight) -> int:
        """Return the number of the last call of the layer of a weight, 0 if there was none."""
        # A cell has no call of its own: that of its recurrent layer counts.
        for layer in reversed(weight.layers):
            if layer in self._call_numbers:
                return self._call_numbers[layer]
        return 0


def _is_numeric(weight: ModelWeight) -> bool:
    return weight.dtype in EPSILONS or weight.dtype.startswith(("int", "uint"))


def _has_moved(first: Array, second: Array | None, tolerance: float) -> bool:
    """Say whether values differ by more than `tolerance`, a share of their size."""
    if second is None or first.shape != second.shape:
        return True
    before, after = to_floats(first).astype("float64"), to_floats(second).astype("float64")
    with np.errstate(invalid="ignore", over="ignore"):
        moved = compute_rms(before - after)
    return moved > tolerance * compute_rms(before)  # false if one of them is NaN


def _compute_increase(variable: keras.Variable, former: FormerValues) -> Array:
    difference: Array = to_floats(backend.host_view(variable)) - to_floats(
        backend.host_view(former.value_of(variable))
    )
    return difference


def _compute_rounding(weight: ModelWeight) -> float:
    """Compute the rounding of the values of a weight, as a root mean square.

    A float is off by at most half of its spacing, `epsilon / 2` of its size.
    """
    if weight.dtype not in EPSILONS:
        return 0.0
    values = to_floats(backend.host_view(weight.variable))
    return EPSILONS[weight.dtype] / 2 * compute_rms(values)


def _name_counts(y: Any) -> dict[int, str]:
    """Name each count in the targets, because a sum is so many times its mean.

    For targets of shape (32, 10): `{32: "examples", 320: "values in the targets", ...}`.
    """
    names: dict[int, str] = {}
    for target in keras.tree.flatten(y):
        if target is None:
            continue
        examples, *inner = target.shape
        positions = math.prod(inner[:-1])
        values = math.prod(inner)
        # If two are the same number, the first one names it.
        counts = (
            (examples, "examples"),
            (examples * values, "values in the targets"),
            (examples * positions, "positions in the targets"),
            (values, "values in the target of an example"),
            (positions, "positions in the target of an example"),
        )
        for count, name in counts:
            if count > 1:
                names.setdefault(int(count), name)
    return names
