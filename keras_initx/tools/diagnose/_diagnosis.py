"""A diagnosis: a model and a batch, with the measurements that rules ask for.

There are two kinds of measurements. A *probe* watches the calls of one forward pass, and reduces
tensors to numbers. A *fact* is a function of the diagnosis. It is computed when a rule first asks
for it, and remembered. Training minimizes the *objective*: the loss, with the terms of regularizers
(*penalties*) and `add_loss`.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import keras
import numpy as np

from keras_initx._keras import list_layers
from keras_initx._typing import Array, Tensor
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import to_array
from keras_initx.inspection._hooks import HOOKS
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._training import (
    compute_objective,
    preserve_compiled_loss,
    sum_added_losses,
)
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.tools.diagnose.losses.known import LossLike
from keras_initx.tools.diagnose.losses.training import loss_function

# An array, or a list or dict of arrays, also nested.
Arrays: TypeAlias = Any
# Takes the name of a layer after its call, or of a step.
Progress: TypeAlias = Callable[[str], object]

# The first factor by which `LossScaleOptimizer` multiplies the loss.
_LOSS_SCALE = 2**15

_Probe = TypeVar("_Probe", bound="Probe")
_Value = TypeVar("_Value")


class Probe(Watcher):
    """Watches the calls of the one forward pass, and the outputs at its end.

    A probe that reads another probe asks for it in `__init__`. Then the other probe gets each call,
    and the end, first.

    Args:
        diagnosis: The diagnosis.
    """

    def __init__(self, diagnosis: "Diagnosis") -> None:
        self.diagnosis: Diagnosis = diagnosis


def fact(function: Callable[["Diagnosis"], _Value]) -> Callable[["Diagnosis"], _Value]:
    """Make `function` a fact: its result is computed at the first call, and remembered."""

    @functools.wraps(function)
    def once(diagnosis: Diagnosis) -> _Value:
        return diagnosis.compute_fact(function)

    return once


class Diagnosis:
    """A model and a batch, with their measurements.

    Args:
        inventory: The weights and layers of a built model.
        x: Its inputs, as tensors.
        y: The targets, or `None` to skip losses and gradients unless steps are taken.
        loss: A loss as in `compile`, or `None` for the loss of the model.
        steps: Number of steps of training to take, after which the weights are put back.
        is_trained: Whether the weights have been trained, so that the loss should be better than a
            guess.
        progress: Function that is called with the name of each layer and of each step.

    Attributes:
        model: The model.
        watch: The watch of the pass.
        trained: The weights that are trained.
        is_trained_on: Whether losses and gradients are measured: with targets, or with steps, for a
            model that is fitted without targets.
    """

    def __init__(
        self,
        inventory: Inventory,
        x: Arrays,
        y: Arrays | None = None,
        *,
        loss: LossLike | None = None,
        steps: int = 0,
        is_trained: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.inventory: Inventory = inventory
        self.model: keras.Model = inventory.model
        self.x: Arrays = x
        self.y: Arrays | None = y
        self.loss: LossLike | None = loss
        self.steps: int = steps
        self.is_trained: bool = is_trained
        self.progress: Progress = progress or (lambda _: None)
        self.watch: Watch = Watch(inventory)
        self.trained: list[keras.Variable] = list(
            filter(backend.trains, self.model.trainable_variables)
        )
        self.is_trained_on: bool = y is not None or steps > 0
        self._compute_loss = None if y is None else loss_function(self.model, loss)
        self._facts: dict[Callable[[Diagnosis], Any], Any] = {}
        self._probes: dict[type[Probe], Any] = {}
        self._compute_norms: dict[bool, Callable[..., list[float]]] = {}
        self._has_begun = False
        # Why facts cannot be computed now, `None` while they can.
        self._refusal: str | None = "the pass has not begun"

    def probe(self, kind: type[_Probe]) -> _Probe:
        if kind not in self._probes:
            if self._has_begun:
                raise RuntimeError(f"{kind.__name__} has not seen the pass")
            self._probes[kind] = kind(self)
        probe: _Probe = self._probes[kind]
        return probe

    def compute_fact(self, function: Callable[["Diagnosis"], _Value]) -> _Value:
        """Return the value of a fact, and compute it if necessary."""
        if function not in self._facts:
            if self._refusal is not None:
                raise RuntimeError(f"{function.__name__} is asked for while {self._refusal}")
            self._facts[function] = function(self)
        value: _Value = self._facts[function]
        return value

    @contextlib.contextmanager
    def measured(self, probes: Iterable[type[Probe]]) -> Iterator[None]:
        """Run the batch through the model, watched by probes. In the block, rules ask for facts.

        Afterward the model, the compiled loss and all random generators are as before.
        """
        self.probe(_ProgressProbe)
        for kind in probes:
            self.probe(kind)
        self._has_begun = True
        # Around the block, too: another thread would watch calls that this one makes for gradients.
        with HOOKS, backend.globals_preserved(), preserve_compiled_loss(self.model):
            self.watch.observe(self.x, *self._probes.values(), training=True)
            self._refusal = None
            yield
            self._refusal = "the diagnosis is over"

    @contextlib.contextmanager
    def changed(self) -> Iterator[None]:
        """Refuse new facts for the duration of the block, which changes weights."""
        self._refusal = "weights are changed"
        try:
            yield
        finally:
            self._refusal = None

    def objective(self, x: Arrays, y: Arrays, outputs: Tensor, training: bool = True) -> Tensor:
        """Return the objective for some outputs."""
        if self._compute_loss is not None:
            return self._compute_loss(y, outputs) + self.terms()
        value = compute_objective(self.model, x, y, outputs, training=training)
        # A `compute_loss` of one's own may return a number of Python.
        return keras.ops.convert_to_tensor(value)

    def objective_of(self, x: Arrays, y: Arrays, training: bool = True) -> Tensor:
        """Return the objective for the outputs of a new call of the model."""
        return self.objective(x, y, self.model(x, training=training), training)

    def terms(self) -> Tensor:
        """Return the sum of the terms that regularizers and `add_loss` add to the loss."""
        return sum_added_losses(self.model)

    def norms(self, training: bool = True) -> list[float]:
        """Return the norm of the gradient of each trained weight, with its present value.

        Penalties do not count.
        """

        def scaled_objective(x: Arrays, y: Arrays, scale: Array) -> Tensor:
            value = self.objective_of(x, y, training)
            return value * keras.ops.cast(scale, value.dtype)

        layers = list_layers(self.model)
        if training not in self._compute_norms:
            self._compute_norms[training] = backend.gradient_norms(
                scaled_objective, self.trained, layers
            )
        scale = 1
        # As `LossScaleOptimizer` scales it in training, because small gradients are 0 in float16.
        if any(layer.compute_dtype == "float16" for layer in layers):
            scale = _LOSS_SCALE
        with self.without_penalties():
            while True:
                scaled = self._compute_norms[training](self.x, self.y, np.float32(scale))
                norms = [norm / scale for norm in scaled]
                if scale == 1 or all(map(math.isfinite, norms)):
                    return norms
                scale //= 32

    def gradient_values(
        self, variables: Sequence[keras.Variable], x: Arrays = None
    ) -> list[Array | None]:
        """Return the gradients of some trained weights, times a common factor.

        A gradient is `None` if the loss is not computed from the weight at all. Penalties do not
        count.

        Args:
            variables: The weights.
            x: Inputs, by default the inputs of the batch.
        """
        layers = list_layers(self.model)
        is_scaled = any(layer.compute_dtype == "float16" for layer in layers)

        def objective(x: Arrays, y: Arrays) -> Tensor:
            value = self.objective_of(x, y)
            return value * _LOSS_SCALE if is_scaled else value

        inputs = self.x if x is None else x
        with self.without_penalties():
            return backend.gradient_values(objective, variables, layers, (inputs, self.y))

    def inference_loss(self) -> float:
        """Return the objective in inference mode, without penalties, with the present weights."""
        with self.without_penalties(), backend.preserve_state(list_layers(self.model)):
            return float(to_array(self.objective_of(self.x, self.y, training=False)).sum())

    @contextlib.contextmanager
    def without_penalties(self) -> Iterator[None]:
        """Take the regularizers from the weights for the duration of the block.

        They pull each weight to 0, even a weight that the loss does not depend on.
        """
        regularizers = [(weight, weight.regularizer) for weight in self.trained]
        try:
            for weight in self.trained:
                weight.regularizer = None
            yield
        finally:
            for weight, regularizer in regularizers:
                weight.regularizer = regularizer


class _ProgressProbe(Probe):
    """Reports the name of each layer after its call."""

    def after(self, call: Call) -> None:
        if call.is_seen:
            # Calls by `progress` are no part of the pass.
            with self.diagnosis.watch.paused():
                self.diagnosis.progress(f"Measured {self.diagnosis.watch.paths[call.operation]}")
