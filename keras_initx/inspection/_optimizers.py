"""Read an optimizer: its class, settings, learning rate, variables, and the optimizers inside it.

Keras has optimizers of three kinds, and all are read here:

    keras.optimizers.Adam(1e-3)           one learning rate: a number, a schedule or a function
    LossScaleOptimizer(Adam(1e-3))        has another inside, `inner_optimizer`, with the rate
    MultiOptimizer([...]), a user's own   has several in its attributes, and no rate itself

On torch, Keras' optimizers are subclasses of their own with the same names.
"""

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
    """Return the name of the class in `keras.optimizers` from which an optimizer derives.

    Classes of users derive from these, and on torch Keras' own classes do too. It is `None` for a
    class that derives from `keras.optimizers.Optimizer` alone.
    """
    name = None
    for cls in type(optimizer).__mro__:
        if cls is keras.optimizers.Optimizer:
            break
        if name is None and getattr(keras.optimizers, cls.__name__, None) is cls:
            name = cls.__name__
    return name


@dataclass(frozen=True)
class StepFacts:
    """The settings of the steps of an optimizer.

    Attributes:
        kind: One of the values of `KINDS`, `None` for an unknown class, for example a user's.
        momentum: The momentum of SGD, 0 for others.
        epsilon: The number that Adam and similar optimizers add to the size of a gradient, 0 for
            others.
        start: The first value of Adagrad's sum of squared gradients, 0 for others.
        clipnorm: The largest norm of the gradient of a weight after clipping, infinite without
            clipping.
        clipvalue: The largest size of a number of a gradient after clipping, infinite without
            clipping.
        global_clipnorm: The largest norm of all gradients together after clipping, infinite without
            clipping.
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
    """Read the settings of the steps of an optimizer, if Keras knows its class."""
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
    return optimizer.gradient_accumulation_steps or 1


def scales_loss(optimizer: keras.optimizers.Optimizer) -> bool:
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def has_one_rate(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether an optimizer has the learning rate of Keras.

    A class may have a property of its own instead, or optimizers inside that have the rates.
    """
    own: Any = type(optimizer).learning_rate
    return own is keras.optimizers.Optimizer.learning_rate


def read_rate(optimizer: keras.optimizers.Optimizer) -> float | None:
    """Read the present learning rate; `None` for a `MultiOptimizer`, which has several."""
    rate = getattr(optimizer, "learning_rate", None)
    if rate is None:
        return None
    # A function may return a number of Python.
    return float(backend.host_view(keras.ops.convert_to_tensor(rate)))


def predict_rates(optimizer: keras.optimizers.Optimizer, steps: Sequence[int]) -> list[float]:
    """Compute the learning rates after some steps from here."""
    accumulation = optimizer.gradient_accumulation_steps
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
        optimizer.gradient_accumulation_steps = accumulation
    return rates


def unwrap_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    if scales_loss(optimizer):
        return optimizer.inner_optimizer
    return optimizer


def copy_unbuilt(
    optimizer: keras.optimizers.Optimizer, rate: float | None = None
) -> keras.optimizers.Optimizer:
    """Copy an optimizer in its initial state, before it is built.

    Args:
        optimizer: An optimizer. If its config makes no optimizer, any error may be raised.
        rate: The learning rate of the copy, by default the rate of `optimizer`.
    """
    inner = unwrap_optimizer(optimizer)
    copied: keras.optimizers.Optimizer
    if has_one_rate(inner):
        constant = rate
        if constant is None:
            constant = read_rate(inner) or 0.0
        # The class of a schedule may be registered nowhere, or have no config.
        variable = keras.Variable(constant, name="learning_rate", trainable=False)
        with replace_rate(inner, variable) as original_rate:
            copied = type(optimizer).from_config(optimizer.get_config())
        if rate is None and not isinstance(original_rate, keras.Variable):
            unwrap_optimizer(copied).learning_rate = original_rate
    else:
        copied = type(optimizer).from_config(optimizer.get_config())
    for ours, theirs in zip(iterate_optimizers(optimizer), iterate_optimizers(copied), strict=True):
        copy_exclusions(ours, theirs)
    return copied


class NoCopyError(Exception):
    """Raised if an optimizer cannot be copied.

    Attributes:
        required: The requirement, in words that follow "an optimizer that".
        received: The optimizer, in words.
    """

    def __init__(self, required: str, received: str) -> None:
        super().__init__(received)
        self.required: str = required
        self.received: str = received


def copy_initial_optimizer(
    optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Copy an optimizer in its initial state, built for weights.

    Raises:
        NoCopyError: If it was built without some of these weights, or its config does not copy it.
    """
    for used in {optimizer, unwrap_optimizer(optimizer)}:
        unknown = [weight for weight in weights if not is_built_with(used, weight)]
        if used.built and unknown:
            raise NoCopyError(
                "is built with all trained weights, as in `fit`: compile the model again",
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
        raise NoCopyError(
            "can be copied by its config", f"whose config raises {error!r}"
        ) from error
    if lost:
        raise NoCopyError(
            "can be copied by its config", f"whose config lacks {summarize_names(lost)}"
        )
    return copied


def find_lost_settings(
    optimizer: keras.optimizers.Optimizer, copied: keras.optimizers.Optimizer
) -> list[str]:
    """Find the attributes of `optimizer` that a copy lacks, or that have other values there.

    These are values such as numbers and texts that the config lacks, and methods that someone has
    replaced.
    """
    lost = []
    for ours, theirs in zip(iterate_optimizers(optimizer), iterate_optimizers(copied), strict=True):
        for name, value in vars(ours).items():
            is_method = callable(getattr(type(ours), name, None))
            if is_method or (_is_setting(value) and not _is_same(value, vars(theirs).get(name))):
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
    """Yield an optimizer and the optimizers in its attributes."""
    yield optimizer
    for value in vars(optimizer).values():
        for item in list_items(value):
            if isinstance(item, keras.optimizers.Optimizer):
                yield from iterate_optimizers(item)


def list_optimizer_variables(
    optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]
) -> list[keras.Variable]:
    """List the variables of `optimizer`, which updates `weights`, and of the optimizers inside it.

    In a `LossScaleOptimizer`, Keras does not list all variables. For example, it leaves out Nadam's
    product of momenta and Adafactor's placeholders for vectors.
    """
    variables_by_id = {id(variable): variable for variable in optimizer.variables}
    weight_ids = {id(weight) for weight in weights}
    for value in vars(optimizer).values():
        for item in list_items(value):
            variables = []
            if isinstance(item, keras.Variable):
                variables = [item]
            elif isinstance(item, keras.optimizers.Optimizer):
                variables = list_optimizer_variables(item, weights)
            for variable in variables:
                if id(variable) not in weight_ids:
                    variables_by_id.setdefault(id(variable), variable)
    return list(variables_by_id.values())


def list_items(value: Any) -> Iterable[Any]:
    # What is in a list, a tuple or a dict; any other value is the only item.
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    return [value]


def list_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """List the optimizers of `model` and of models inside it, also in lists and dicts."""
    optimizers: dict[keras.optimizers.Optimizer, None] = {}
    for layer in (model, *list_sublayers(model)):
        for value in vars(layer).values():
            for item in list_items(value):
                if isinstance(item, keras.optimizers.Optimizer):
                    optimizers[item] = None
    return list(optimizers)


def list_used_optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """List the optimizers of `model` whose variables exist, or exist in an inner optimizer."""
    used = []
    for optimizer in list_optimizers(model):
        if optimizer.built or unwrap_optimizer(optimizer).built:
            used.append(optimizer)
    return used


def list_optimized_weights(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """List the weights that `optimizer` was built for.

    Layers may have been frozen or quantized since it was built. The weights are the longest list in
    its attributes of variables that are not its own.
    """
    own_ids = {id(variable) for variable in optimizer.variables}
    longest: list[keras.Variable] = []
    for value in vars(optimizer).values():
        if not isinstance(value, list | tuple) or len(value) <= len(longest):
            continue
        if all(isinstance(item, keras.Variable) and id(item) not in own_ids for item in value):
            longest = list(value)
    return longest
