"""A factor on the learning rate of each weight, for optimizers of Keras.

The optimizer is copied to a subclass of its class that multiplies the learning rate in the step of
each weight. Everything else stays the same.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, cast

import keras

from keras_initx._checks import check_number, check_type
from keras_initx._keras import (
    ParallelSteps,
    index_in_optimizer,
    method_without_steps,
    momentum_product,
    replace_rate,
    track,
)
from keras_initx._received import show
from keras_initx._typing import Tensor
from keras_initx.inspection._optimizers import (
    copy_unbuilt,
    find_lost_settings,
    has_one_rate,
    iterate_optimizers,
)
from keras_initx.inspection._patterns import find_first_matches, match_pattern


class FactorList(list[float]):
    """Factors of weights, in the order of `model.trainable_variables`, with the path of each.

    Attributes:
        paths: The paths of the weights, `variable.path`.
    """

    def __init__(self, factors: Iterable[float], paths: Iterable[str]) -> None:
        super().__init__(factors)
        self.paths: list[str] = list(paths)


@keras.saving.register_keras_serializable(package="initx")
class RateFactors(ParallelSteps):
    """Train each weight with its own factor on the learning rate.

    You use it like the optimizer that you pass: in `compile`, or with `apply` or `stateless_apply`
    in a loop of your own. Schedules, a `learning_rate` that you set later, averaged weights,
    accumulated gradients, loss scaling and all ways to clip gradients work. You can save the model
    and go on training on any backend.

    Some details:

    - Clipping by the global norm looks at all weights.
    - Weight decay follows the learning rate of the optimizer, without the factors.
    - If weights differ in more than the learning rate, use Keras' `MultiOptimizer`. It can contain
      a `RateFactors`.

    `scaling.mup(model, base).optimizer(...)` makes one with the factors of muP.

    Args:
        optimizer: An unused optimizer, which is copied, or its name or config, as in `compile`:
            `"adam"`. It is one of Keras but Adafactor, or of a class of yours that makes its steps
            in `update_step`.
        factors: A dict from patterns to positive factors, or a list with the factor of each weight,
            in the order of `model.trainable_variables`. A pattern, as in `initialize`, is compared
            with the path of a weight, `variable.path`, and the first that matches counts. Weights
            without a match have the factor 1. Leave out the name of the model that may begin all
            paths, because a loaded model may lack it. The list of `MupTable.learning_rates` also
            has the paths, and other weights raise an error.
        name: Name of the optimizer, by default the name of `optimizer`.

    Raises:
        TypeError: If an argument has the wrong type, or `optimizer` is of a class that does not
            make its steps in `update_step`.
        ValueError: If a factor is not positive, or `optimizer` is an Adafactor, has been used, has
            others inside, or has a config that lacks some of its settings. When it is first used,
            if a pattern matches no weight, or a list has another length or the paths of other
            weights.

    Example:
        >>> from keras_initx.scaling import RateFactors
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="last")])
        >>> optimizer = RateFactors(keras.optimizers.Adam(0.01), {"last/kernel": 0.25})
        >>> model.compile(optimizer, "mse")
        >>> _ = model.fit(keras.ops.ones((8, 4)), keras.ops.ones((8, 2)), verbose=0)
        >>> round(float(optimizer.learning_rate), 4)
        0.01
    """

    # The class of the optimizer without factors.
    plain: type[keras.optimizers.Optimizer]
    # The factor of each weight.
    _rate_factors: Sequence[float]

    def __new__(
        cls,
        optimizer: keras.optimizers.Optimizer | str | Mapping[str, Any],
        factors: Mapping[str, float] | Sequence[float],
        name: str | None = None,
    ) -> Self:
        """Return a copy of the optimizer, of a subclass of its class."""
        if isinstance(optimizer, str | Mapping):
            optimizer = keras.optimizers.get(optimizer)
        copied = _checked_copy(optimizer)
        # A class of a user may be made from a config in a way of its own, but then of this class.
        plain: Any = type(optimizer)
        object.__setattr__(copied, "__class__", _class_with_factors(plain))
        return cast(Self, copied)

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer | str | Mapping[str, Any],
        factors: Mapping[str, float] | Sequence[float],
        name: str | None = None,
    ) -> None:
        self.factors = _checked_factors(factors)
        # Keras copies a list to one of its own.
        self.factor_paths: list[str] | None = None
        if isinstance(factors, FactorList):
            self.factor_paths = factors.paths
        if name is not None:
            self.name = name

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the variables of the optimizer.

        Args:
            variables: The weights, in the order of `model.trainable_variables`.

        Raises:
            ValueError: If the factors are for other weights.
        """
        # Keras builds the optimizer of a model that it loads from HDF5 for no weights.
        if self.built or not variables:
            return
        self._rate_factors = _factors_of(variables, self)
        super().build(variables)
        # Of Nadam. A `LossScaleOptimizer` of Keras has it left out, so that JAX would not keep it
        # from step to step, and no file would have it.
        product = momentum_product(self)
        if product is not None and all(product is not variable for variable in self.variables):
            track(self, product)

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        """Update one weight."""
        rate = learning_rate * self._factor_of(variable)
        # A class of a user may take the rate from `self` instead of the argument.
        with replace_rate(self, rate):
            super().update_step(gradient, variable, rate)

    def _update_all(
        self,
        update: Callable[[Sequence[Tensor], Sequence[keras.Variable], Tensor], None],
        grads: Sequence[Tensor],
        variables: Sequence[keras.Variable],
        learning_rate: Tensor,
    ) -> None:
        """Update all weights, with one call for all weights of one factor."""
        groups: dict[float, list[tuple[Tensor, keras.Variable]]] = {}
        for grad, variable in zip(grads, variables, strict=True):
            groups.setdefault(self._factor_of(variable), []).append((grad, variable))
        # Nadam multiplies it in each call, but it should change once in a step.
        product = momentum_product(self)
        if product is not None:
            start = keras.ops.copy(product.value)
        for factor, pairs in groups.items():
            if product is not None:
                product.assign(start)
            own_grads = [grad for grad, _ in pairs]
            own_variables = [variable for _, variable in pairs]
            update(own_grads, own_variables, learning_rate * factor)

    def _factor_of(self, variable: keras.Variable) -> float:
        return self._rate_factors[index_in_optimizer(self, variable)]

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a pickle makes an unused optimizer, as Keras' optimizers do."""
        serialized = keras.saving.serialize_keras_object(self)
        return keras.saving.deserialize_keras_object, (serialized, None, False)

    def get_config(self) -> dict[str, Any]:
        """Return the optimizer with its present learning rate, the factors and the name."""
        plain = self.plain
        serialized = keras.saving.serialize_keras_object(plain.from_config(super().get_config()))
        # On torch, Keras replaces its classes by others, which no other backend has.
        if plain.__module__.startswith("keras.") and hasattr(keras.optimizers, plain.__name__):
            serialized.update(
                module="keras.optimizers", class_name=plain.__name__, registered_name=None
            )
        factors: dict[str, float] | list[float]
        if isinstance(self.factors, dict):
            factors = dict(self.factors)
        else:
            factors = list(self.factors)
        order = "keras"  # in which files have the variables
        config = {"optimizer": serialized, "factors": factors, "name": self.name, "order": order}
        if self.factor_paths is not None:
            config["paths"] = list(self.factor_paths)
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "RateFactors":
        """Return an unused optimizer with this config.

        Raises:
            ValueError: If a version before the first release wrote the config. Files of that
                version have the variables in an order that is not known.
        """
        if config.get("order") != "keras":
            raise ValueError(
                '`config` must have the `order` "keras": files of versions before 0.1.0 have the '
                "variables of the optimizer in another order. Load the model with `compile=False`, "
                "and compile it with a new `RateFactors`. "
                f"Received: order={show(config.get('order'))}"
            )
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects)
        factors = config["factors"]
        if "paths" in config:
            factors = FactorList(factors, config["paths"])
        return RateFactors(optimizer, factors, name=config["name"])


@functools.cache
def _class_with_factors(plain: Any) -> type[RateFactors]:
    """Return the class of optimizers of this class with factors.

    All such classes are saved under one name, because the config has the class.
    """
    made = type(
        RateFactors.__name__,
        (RateFactors, plain),
        {"plain": plain, "__doc__": RateFactors.__doc__, "__module__": RateFactors.__module__},
    )
    keras.saving.register_keras_serializable("initx")(made)
    return made


def _checked_copy(optimizer: Any) -> keras.optimizers.Optimizer:
    """Return a copy of an optimizer whose steps can have factors."""
    check_type("optimizer", optimizer, keras.optimizers.Optimizer, "an optimizer of Keras")
    received = f"Received: optimizer={show(optimizer)}"
    # No factor would apply to the rates of others.
    if len([*iterate_optimizers(optimizer)]) > 1 or isinstance(optimizer, RateFactors):
        # A `LossScaleOptimizer` around the result is what Keras makes for float16.
        raise ValueError(
            "`optimizer` must update weights itself, not by optimizers inside it: make a "
            f"`RateFactors` of the inner optimizer. {received}"
        )
    _check_class(optimizer)
    if isinstance(optimizer, keras.optimizers.Adafactor):
        raise ValueError(
            "`optimizer` must not be an Adafactor: it takes the smaller of its learning rate and "
            "`1 / sqrt(step)`, so a factor on the rate may have no effect. Load a saved model that "
            f"has one with `compile=False`. {received}"
        )
    if optimizer.built:
        raise ValueError(
            f"`optimizer` must be unused, or its state would be lost: pass a new one. {received}"
        )
    copied = copy_unbuilt(optimizer)
    lost = find_lost_settings(optimizer, copied)
    if lost:
        raise ValueError(
            f"`optimizer` must have a config with all its settings, but it lacks {lost}. {received}"
        )
    return copied


def _check_class(optimizer: keras.optimizers.Optimizer) -> None:
    """Check that the factors can act on the steps of an optimizer."""
    cls = type(optimizer)
    passed_by = method_without_steps(optimizer)
    required = None
    if cls.update_step is keras.optimizers.Optimizer.update_step:
        required = "a method `update_step`, which gets the learning rate of a weight"
    elif not has_one_rate(optimizer):
        required = "the property `learning_rate` of Keras, not one of its own"
    elif passed_by is not None:
        required = f"an `{passed_by}` that makes the steps by `super().{passed_by}`"
    if required is not None:
        raise TypeError(
            f"`optimizer` must be of a class with {required}. "
            f"Received: an optimizer of the class {show(cls.__name__)}"
        )


def _checked_factors(factors: Any) -> dict[str, float] | list[float]:
    """Return the factors as numbers of Python, for the config."""
    if isinstance(factors, Mapping):
        checked = {}
        for pattern, factor in factors.items():
            check_type("factors", pattern, str, "a dict from patterns, or a list")
            checked[pattern] = float(check_number(f"factors[{pattern!r}]", factor, positive=True))
        return checked
    required = "a dict from patterns to factors, or a list of factors"
    if isinstance(factors, str):
        raise TypeError(f"`factors` must be {required}. Received: factors={show(factors)}")
    check_type("factors", factors, Sequence, required)
    in_order = []
    for place, factor in enumerate(factors):
        in_order.append(float(check_number(f"factors[{place}]", factor, positive=True)))
    return in_order


def _factors_of(variables: Sequence[keras.Variable], optimizer: RateFactors) -> list[float]:
    """Return the factor of each weight."""
    factors = optimizer.factors
    if not isinstance(factors, dict):
        if len(factors) != len(variables):
            raise ValueError(
                "`factors` must have a factor for each weight. "
                f"Received: {len(factors)} factors for {len(variables)} weights"
            )
        if optimizer.factor_paths is not None:
            _check_paths(optimizer.factor_paths, [variable.path for variable in variables])
        return list(factors)
    paths = [variable.path for variable in variables]
    first_names = {path.partition("/")[0] for path in paths}
    short_paths = paths
    if len(first_names) == 1:  # mostly that of the model
        short_paths = [path.partition("/")[2] for path in paths]
    names = {short: (path, short) for path, short in zip(paths, short_paths, strict=True)}
    found = find_first_matches("factors", factors, names, match_pattern)
    return [factors[found[path][0]] if path in found else 1.0 for path in short_paths]


def _check_paths(paths: Sequence[str], found: Sequence[str]) -> None:
    """Raise `ValueError` unless the weights have the paths of the factors.

    Paths may differ in the names of outer models, which a loaded model lacks, and in automatic
    numbers. Then each name stands for one name at the same position.
    """
    names: dict[str, str] = {}
    names_found: dict[str, str] = {}
    for path, other in zip(paths, found, strict=True):
        pairs = list(zip(reversed(path.split("/")), reversed(other.split("/")), strict=False))
        for name, name_found in pairs:
            is_alike = _unnumbered(name) == _unnumbered(name_found)
            is_first = name not in names and name_found not in names_found
            if is_alike and is_first:
                names[name] = name_found
                names_found[name_found] = name
            if names.get(name) != name_found:
                raise ValueError(
                    "`factors` must be the factors of the trained weights, in their order. "
                    f"Received: the factor of {show(path)} for {show(other)}"
                )


def _unnumbered(name: str) -> str:
    return re.sub(r"_\d+$", "", name)
