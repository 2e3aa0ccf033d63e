"""What an optimizer is: its class and settings, its learning rate, others inside, its variables."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras

from keras_initx._checks import summarize_names
from keras_initx._keras import copy_exclusions, is_built_with, replace_rate
from keras_initx.backends._current import backend
from keras_initx.inspection._names import list_sublayers

OptimizerKind: TypeAlias = Literal["adadelta", "adafactor", "adagrad", "adam", "muon", "sgd"]

# How an optimizer of Keras makes a step of a gradient, by the name of its class. All of the kind
# "adam" normalize the size of gradients: their first step changes each weight by about the rate.
KINDS: Mapping[str, OptimizerKind] = {
    "SGD": "sgd",
    "Adam": "adam",
    "AdamW": "adam",
    "Nadam": "adam",
    "Adamax": "adam",
    "Lion": "adam",
    "RMSprop": "adam",
    "Adafactor": "adafactor",
    "Muon": "muon",
    "Adadelta": "adadelta",
    "Adagrad": "adagrad",
}


def keras_class_name(optimizer: keras.optimizers.Optimizer) -> str | None:
    """Return the name of the class in `keras.optimizers` that an optimizer is of.

    Classes of users, and on torch those of Keras, derive from these. It is `None` of a class that
    derives from `keras.optimizers.Optimizer` alone.
    """
    found = None
    for cls in type(optimizer).__mro__:
        if cls is keras.optimizers.Optimizer:
            break
        if found is None and getattr(keras.optimizers, cls.__name__, None) is cls:
            found = cls.__name__
    return found


@dataclass(frozen=True)
class StepFacts:
    """How an optimizer makes a step of a gradient.

    Attributes:
        kind: One of the values of `KINDS`, `None` for the class of a user and others that are not
            known.
        momentum: The momentum of SGD, 0 for others.
        epsilon: What Adam and its like add to the size of a gradient, 0 for others.
        start: What Adagrad starts its sum of squared gradients with, 0 for others.
        clipnorm: The norm to which the gradient of each weight is clipped, infinite for none.
        clipvalue: The size to which each number of a gradient is clipped, infinite for none.
        global_clipnorm: The norm to which all gradients together are clipped, infinite for none.
    """

    kind: OptimizerKind | None = None
    momentum: float = 0.0
    epsilon: float = 0.0
    start: float = 0.0
    clipnorm: float = math.inf
    clipvalue: float = math.inf
    global_clipnorm: float = math.inf

    @property
    def is_clipped(self) -> bool:
        """Whether gradients are clipped in any way."""
        return min(self.clipnorm, self.clipvalue, self.global_clipnorm) < math.inf


def read_step_facts(optimizer: Any) -> StepFacts:
    """Return how an optimizer makes a step, also what is known of none."""
    limits = {}
    for name in ("clipnorm", "clipvalue", "global_clipnorm"):
        limit = getattr(optimizer, name, None) or 0.0
        # Keras clips to none that is not positive.
        limits[name] = limit if limit > 0 else math.inf
    kind = None
    # A subclass may make its steps in another way. On torch Keras has some, with the same names.
    name = type(optimizer).__name__
    if keras_class_name(optimizer) == name:
        kind = KINDS.get(name)
    return StepFacts(
        kind,
        momentum=optimizer.momentum if kind == "sgd" else 0.0,
        epsilon=getattr(optimizer, "epsilon", 0.0) if kind == "adam" else 0.0,
        start=optimizer.initial_accumulator_value if kind == "adagrad" else 0.0,
        **limits,
    )


def accumulation_steps(optimizer: keras.optimizers.Optimizer) -> int:
    """Return how many gradients an optimizer adds up for an update."""
    return optimizer.gradient_accumulation_steps or 1


def scales_loss(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether an optimizer is a `LossScaleOptimizer`, which has another one."""
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def has_one_rate(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether an optimizer has the learning rate of Keras.

    A class may have a property of its own, or have its rates in optimizers inside.
    """
    own: Any = type(optimizer).learning_rate
    return own is keras.optimizers.Optimizer.learning_rate


def read_rate(optimizer: keras.optimizers.Optimizer) -> float | None:
    """Return the present learning rate, or `None` for a `MultiOptimizer`, which has several."""
    rate = getattr(optimizer, "learning_rate", None)
    if rate is None:
        return None
    # A function may return a number of Python.
    return float(backend.host_view(keras.ops.convert_to_tensor(rate)))


def predict_rates(optimizer: keras.optimizers.Optimizer, steps: Sequence[int]) -> list[float]:
    """Return the learning rates after some steps from here."""
    accumulated = optimizer.gradient_accumulation_steps
    # Otherwise it would count updates, and be a quotient of the variable, by which rates go.
    optimizer.gradient_accumulation_steps = None
    iterations = optimizer.iterations
    now = int(backend.host_view(iterations.value))
    rates = []
    try:
        for step in steps:
            iterations.assign(now + step)
            rates.append(read_rate(optimizer) or 0.0)
    finally:
        iterations.assign(now)
        optimizer.gradient_accumulation_steps = accumulated
    return rates


def unwrap_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer in a `LossScaleOptimizer`, and any other as it is."""
    if scales_loss(optimizer):
        return optimizer.inner_optimizer
    return optimizer


def copy_unbuilt(
    optimizer: keras.optimizers.Optimizer, rate: float | None = None
) -> keras.optimizers.Optimizer:
    """Return an optimizer at its start that does to the same weights what `optimizer` does.

    Args:
        optimizer: An optimizer whose config makes one. Otherwise this raises anything.
        rate: The learning rate of the copy, by default that of `optimizer`.
    """
    inner = unwrap_optimizer(optimizer)
    copied: keras.optimizers.Optimizer
    if has_one_rate(inner):
        constant = rate
        if constant is None:
            constant = read_rate(inner) or 0.0
        # The class of a schedule may be registered nowhere, or have no config.
        variable = keras.Variable(constant, name="learning_rate", trainable=False)
        with replace_rate(inner, variable) as kept:
            copied = type(optimizer).from_config(optimizer.get_config())
        if rate is None and not isinstance(kept, keras.Variable):
            unwrap_optimizer(copied).learning_rate = kept
    else:
        copied = type(optimizer).from_config(optimizer.get_config())
    for one, other in zip(iterate_optimizers(optimizer), iterate_optimizers(copied), strict=True):
        copy_exclusions(one, other)
    return copied


class NoCopyError(Exception):
    """There is no optimizer that does what another does.

    Attributes:
        required: What the optimizer must be.
        received: What it is.
    """

    def __init__(self, required: str, received: str) -> None:
        super().__init__(received)
        self.required: str = required
        self.received: str = received


def copy_initial_optimizer(
    optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Return an optimizer that does to weights what another does, at its start.

    Raises:
        NoCopyError: If it was built without some of them, or its config does not make it anew.
    """
    for used in {optimizer, unwrap_optimizer(optimizer)}:
        unknown = [weight for weight in weights if not is_built_with(used, weight)]
        if used.built and unknown:
            raise NoCopyError(
                "is built with all weights that are trained, as `fit` does: compile the model "
                "again",
                f"built without {unknown[0].path!r}",
            )
    try:
        copied = copy_unbuilt(optimizer)
        # Building may set attributes. The optimizer inside may be built alone.
        if unwrap_optimizer(optimizer).built:
            unwrap_optimizer(copied).build(weights)
        if optimizer.built and not copied.built:
            copied.build(weights)
        lost = find_lost_settings(optimizer, copied)
    except Exception as error:  # it is the user's, and may lack anything
        raise NoCopyError("its config makes anew", f"whose config raises {error!r}") from error
    if lost:
        raise NoCopyError("its config makes anew", f"whose config lacks {summarize_names(lost)}")
    return copied


def find_lost_settings(
    optimizer: keras.optimizers.Optimizer, copied: keras.optimizers.Optimizer
) -> list[str]:
    """Return the attributes of `optimizer` that a copy lacks or has otherwise.

    They are numbers, texts and the like, which a config may lack, and methods that someone has
    replaced.
    """
    lost = []
    for one, other in zip(iterate_optimizers(optimizer), iterate_optimizers(copied), strict=True):
        for name, value in vars(one).items():
            is_method = callable(getattr(type(one), name, None))
            if is_method or (_is_setting(value) and not _is_same(value, vars(other).get(name))):
                lost.append(name)
    return lost


def _is_setting(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_setting, value))
    return value is None or isinstance(value, bool | int | float | str | re.Pattern)


def _is_same(value: Any, other: Any) -> bool:
    # A tuple comes back from a config as a list.
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return list(value) == list(other)
    return bool(value == other)


def iterate_optimizers(
    optimizer: keras.optimizers.Optimizer,
) -> Iterator[keras.optimizers.Optimizer]:
    """Yield an optimizer and those in its attributes."""
    yield optimizer
    for value in vars(optimizer).values():
        for item in list_items(value):
            if isinstance(item, keras.optimizers.Optimizer):
                yield from iterate_optimizers(item)


def list_optimizer_variables(
    optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]
) -> list[keras.Variable]:
    """Return the variables of `optimizer`, which updates `weights`, also those in its attributes.

    In a `LossScaleOptimizer`, Keras does not list those that are made by themselves: the product of
    momenta of Nadam, the places of Adafactor for vectors.
    """
    found = {id(variable): variable for variable in optimizer.variables}
    others = {id(weight) for weight in weights}
    for value in vars(optimizer).values():
        for item in list_items(value):
            variables = []
            if isinstance(item, keras.Variable):
                variables = [item]
            elif isinstance(item, keras.optimizers.Optimizer):
                variables = list_optimizer_variables(item, weights)
            for variable in variables:
                if id(variable) not in others:
                    found.setdefault(id(variable), variable)
    return list(found.values())


def list_items(value: Any) -> Iterable[Any]:
    """Return what is in a list, a tuple or a dict, and of any other value the value."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    return [value]


def list_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Return the optimizers of `model` and of models in it, which may be in a list or a dict."""
    found: dict[keras.optimizers.Optimizer, None] = {}
    for part in (model, *list_sublayers(model)):
        for value in vars(part).values():
            for item in list_items(value):
                if isinstance(item, keras.optimizers.Optimizer):
                    found[item] = None
    return list(found)


def list_used_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Return those of `list_optimizers` that have their variables, or are around one that has."""
    found = []
    for optimizer in list_optimizers(model):
        if optimizer.built or unwrap_optimizer(optimizer).built:
            found.append(optimizer)
    return found


def list_optimized_weights(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the weights that `optimizer` was built for.

    Since then, layers may have been frozen or quantized. It is the longest list of variables that
    are not its own.
    """
    own = {id(variable) for variable in optimizer.variables}
    longest: list[keras.Variable] = []
    for value in vars(optimizer).values():
        if not isinstance(value, list | tuple) or len(value) <= len(longest):
            continue
        if all(isinstance(item, keras.Variable) and id(item) not in own for item in value):
            longest = list(value)
    return longest
