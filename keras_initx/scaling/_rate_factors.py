"""A factor on the learning rate of each weight, for any optimizer of Keras.

Keras' optimizers have one learning rate, and on torch they update all weights in one call. So there
is an optimizer for each distinct factor, with the weights that have it. Only what looks at all
weights at once is done outside of them: clipping by the global norm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_initx._checks import check_number, check_type
from keras_initx._keras import decays, excludes_from_weight_decay
from keras_initx._typing import KerasOptimizer, Tensor
from keras_initx.structure import (
    all_variables,
    first_matches,
    items_of,
    matches_path,
    rate_of,
    unscaled,
)

__all__ = ["RateFactors"]

# The arguments of optimizers that multiply weights by the learning rate: their own, and that of
# Muon for the weights to which it applies Adam.
_DECAYS = ("weight_decay", "adam_weight_decay")


@dataclass(eq=False)
class _Part:
    """The weights with one factor.

    Attributes:
        factor: The factor.
        optimizer: The optimizer that updates them.
        variables: The weights, once it is built.
    """

    factor: float
    optimizer: keras.optimizers.Optimizer
    variables: list[keras.Variable] = field(default_factory=list)


@dataclass(eq=False)
class _Inside:
    """What a `RateFactors` is made of.

    Keras does not see optimizers in here. Of those in attributes it saves the state again.

    Attributes:
        given: The optimizer that was passed. It holds the learning rate and counts the calls.
        parts: A part for each distinct factor.
        variables: All weights, once it is built.
        sums: A variable for the sum of the gradients of each weight, by the id of the weight, if
            they are summed here.
    """

    given: keras.optimizers.Optimizer
    parts: list[_Part]
    variables: list[keras.Variable] = field(default_factory=list)
    sums: dict[int, keras.Variable] = field(default_factory=dict)


@keras.saving.register_keras_serializable(package="initx")
class RateFactors(KerasOptimizer):
    """Train each weight with its own factor on the learning rate.

    The optimizer is used like the one that it is made from: in `compile`, with `apply` or
    `stateless_apply` in a loop of your own, with schedules, a `learning_rate` that is set later,
    averaged weights, accumulated gradients, loss scaling and all ways to clip gradients. Clipping
    by the global norm looks at all weights. Weight decay follows the learning rate of the
    optimizer, without the factors. A saved model goes on training on any backend. For weights that
    differ in more than the learning rate there is Keras' `MultiOptimizer`, of which this may be a
    part.

    `scaling.mup(model, base).optimizer(...)` makes one with the factors of muP.

    Args:
        optimizer: An optimizer of Keras that has not been used. From then on it holds the learning
            rate; the optimizers that update the weights are made from its config.
        factors: A dict from patterns to positive factors. A pattern, as in `initialize`, is
            compared with the path of a weight, `variable.path`. Leave out the name of the model
            that may begin all paths: those of a loaded model may lack it. The first that matches
            counts, and weights that none matches have the factor 1. Or a list with the factor of
            each weight, in the order of `model.trainable_variables`.
        name: Name of the optimizer.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a factor is not positive, or `optimizer` has been used, has others inside, or
            excludes weights from decay. When it is first used, if a pattern matches no weight, or a
            list has another length.

    Example:
        >>> from keras_initx.scaling import RateFactors
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="last")])
        >>> optimizer = RateFactors(keras.optimizers.Adam(0.01), {"last/kernel": 0.25})
        >>> model.compile(optimizer, "mse")
        >>> _ = model.fit(keras.ops.ones((8, 4)), keras.ops.ones((8, 2)), verbose=0)
        >>> round(float(optimizer.learning_rate), 4)
        0.01
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        factors: Mapping[str, float] | Sequence[float],
        name: str | None = None,
    ) -> None:
        _check_optimizer(optimizer)
        checked = _checked_factors(factors)
        # Keras wants this before the first attribute.
        super().__init__(
            learning_rate=lambda: optimizer.learning_rate,
            global_clipnorm=optimizer.global_clipnorm,
            loss_scale_factor=optimizer.loss_scale_factor,
            name=name,
        )
        if isinstance(checked, dict):
            distinct = dict.fromkeys([*checked.values(), 1.0])
        else:
            distinct = dict.fromkeys(checked)
        self.factors = checked
        parts = []
        for place, factor in enumerate(distinct):
            name = f"{self.name}_part_{place}"
            parts.append(_Part(factor, self._like(optimizer, factor, name)))
        self._inside = _Inside(optimizer, parts)

    def _like(
        self, optimizer: keras.optimizers.Optimizer, factor: float, name: str
    ) -> keras.optimizers.Optimizer:
        """Return an optimizer like the given one, with this factor on the learning rate."""
        config = optimizer.get_config()
        if "name" in config:
            config["name"] = name  # `get_state_tree` of a model wants different paths of variables
        for decay in _DECAYS:
            if config.get(decay) is not None:
                config[decay] = config[decay] / factor  # Keras multiplies it by the learning rate
        config["global_clipnorm"] = None
        config["loss_scale_factor"] = None
        config["learning_rate"] = lambda: keras.ops.multiply(self.learning_rate, factor)
        return type(optimizer).from_config(config)

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables that training changes, beside the weights.

        Keras lists those in attributes by itself, but not those of an optimizer that another one
        builds, such as a `LossScaleOptimizer`.
        """
        inside = self._inside
        found = [super().iterations, *inside.sums.values(), *inside.given.variables]
        if self.built:
            for part in inside.parts:
                found.extend(all_variables(part.optimizer, part.variables))
        return found

    def set_weights(self, weights: Sequence[Tensor]) -> None:
        """Assign a value to each of `variables`.

        Args:
            weights: The values.

        Raises:
            ValueError: If the numbers of values and variables differ.
        """
        variables = self.variables
        if len(weights) != len(variables):
            raise ValueError(
                "`weights` must have a value for each of `variables`. "
                f"Received: {len(weights)} values for {len(variables)} variables"
            )
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the weights with the factor 1."""
        return self._inside.given.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._inside.given.learning_rate = value

    @property
    def iterations(self) -> Any:
        """The number of updates."""
        return self._inside.parts[0].optimizer.iterations

    def exclude_from_weight_decay(
        self,
        var_list: Sequence[keras.Variable] | None = None,
        var_names: Sequence[str] | None = None,
    ) -> None:
        """Exclude weights from weight decay, as the method of other optimizers does.

        Args:
            var_list: Weights.
            var_names: Parts of names of weights.

        Raises:
            ValueError: If the optimizer has been used.
        """
        if self.built:
            raise ValueError(
                "`exclude_from_weight_decay` must be called before the optimizer is used."
            )
        super().exclude_from_weight_decay(var_list, var_names)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the variables of the optimizer.

        Args:
            variables: The weights, in the order of `model.trainable_variables`.

        Raises:
            ValueError: If the factors are not those of these weights.
        """
        # Keras builds the optimizer of a model that it loads from HDF5 for no weights.
        if self.built or not variables:
            return
        inside = self._inside
        factors = _factors_of(variables, self.factors)
        for part in inside.parts:
            part.variables = [
                variable
                for variable, factor in zip(variables, factors, strict=True)
                if factor == part.factor
            ]
        inside.parts = [part for part in inside.parts if part.variables]
        inside.variables = list(variables)
        super().build(inside.variables)
        for part in inside.parts:
            excluded = [variable for variable in part.variables if not decays(self, variable)]
            part.optimizer.exclude_from_weight_decay(excluded)
            # On torch, Keras cannot apply decay to no weight at all.
            if len(excluded) == len(part.variables):
                part.optimizer.weight_decay = None
            part.optimizer.build(part.variables)
        # An optimizer that sums gradients clips their sum, which no part knows.
        if self.global_clipnorm and inside.given.gradient_accumulation_steps:
            for variable in variables:
                inside.sums[id(variable)] = self.add_variable_from_reference(variable, name="sum")
        self._state = self.variables  # for `tf.train.Checkpoint`, which follows attributes

    def apply(
        self,
        grads: Sequence[Tensor | None],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        """Update the weights.

        Args:
            grads: A gradient for each weight, or `None` for one that the loss does not depend on.
            trainable_variables: The weights, by default those that the optimizer was built for.

        Raises:
            ValueError: If the numbers of gradients and weights differ, no weight has a gradient, or
                the optimizer was not built, or not for these weights.
        """
        if len(grads) == 0:
            return
        variables = self._checked_variables(grads, trainable_variables)
        scaled = self._clipped(self._unscaled(grads, variables), variables)
        gradients = {}
        for variable, gradient in zip(variables, scaled, strict=True):
            gradients[id(variable)] = gradient
        for part in self._inside.parts:
            given = [variable for variable in part.variables if id(variable) in gradients]
            found = [gradients[id(variable)] for variable in given]
            if any(gradient is not None for gradient in found):
                part.optimizer.apply(found, given)
            else:
                _counter(part.optimizer).assign_add(1)
        for optimizer in (self, self._inside.given):
            _counter(optimizer).assign_add(1)

    def _checked_variables(
        self,
        grads: Sequence[Tensor | None],
        trainable_variables: Sequence[keras.Variable] | None,
    ) -> list[keras.Variable]:
        """Return the weights of these gradients, for which the optimizer is built if it is not."""
        if trainable_variables is None and not self.built:
            raise ValueError(
                "`trainable_variables` must be given unless the optimizer is built. "
                "Received: trainable_variables=None"
            )
        if trainable_variables is None:
            variables = self._inside.variables
        else:
            variables = list(trainable_variables)
        if len(grads) != len(variables):
            raise ValueError(
                "`grads` must have a gradient for each weight. "
                f"Received: {len(grads)} gradients for {len(variables)} weights"
            )
        if all(gradient is None for gradient in grads):
            raise ValueError("`grads` must have a gradient for at least one weight. Received: none")
        self.build(variables)
        known = {id(variable) for variable in self._inside.variables}
        for variable in variables:
            if id(variable) not in known:
                raise ValueError(
                    "`trainable_variables` must be weights that the optimizer was built for. "
                    f"Received: {variable.path!r}"
                )
        return variables

    def _unscaled(
        self, gradients: Sequence[Tensor | None], variables: Sequence[keras.Variable]
    ) -> list[Tensor | None]:
        """Return the gradients without the factor on the loss."""
        if self.loss_scale_factor is None:
            return list(gradients)
        unscaled = []
        for gradient, variable in zip(gradients, variables, strict=True):
            if gradient is not None and _is_update(variable):
                gradient = gradient / self.loss_scale_factor
            unscaled.append(gradient)
        return unscaled

    def _clipped(
        self, gradients: list[Tensor | None], variables: Sequence[keras.Variable]
    ) -> list[Tensor | None]:
        """Return the gradients clipped by their global norm, as Keras does.

        Where they are summed over several calls, they are 0 but for the last call, which has the
        sum: the parts, which sum them too, go on with it.
        """
        if not self.global_clipnorm:
            return gradients
        inside = self._inside
        steps = inside.given.gradient_accumulation_steps or 1
        totals: dict[int, Tensor] = {}
        for place, variable in enumerate(variables):
            gradient = gradients[place]
            if gradient is not None and _is_update(variable):
                if inside.sums:
                    gradient = inside.sums[id(variable)] + keras.ops.convert_to_tensor(gradient)
                totals[place] = gradient
        scale = _clipping_scale([total / steps for total in totals.values()], self.global_clipnorm)
        is_last = (_counter(inside.given) + 1) % steps == 0
        clipped = list(gradients)
        for place, total in totals.items():
            clipped[place] = total * scale
            if inside.sums:
                zeros = keras.ops.zeros_like(total)
                clipped[place] = keras.ops.where(is_last, clipped[place], zeros)
                inside.sums[id(variables[place])].assign(keras.ops.where(is_last, zeros, total))
        return clipped

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Give the weights their averages, if the optimizer keeps them.

        Args:
            var_list: The weights.
        """
        for part in self._inside.parts:
            own = {id(variable) for variable in part.variables}
            variables = [variable for variable in var_list if id(variable) in own]
            part.optimizer.finalize_variable_values(variables)

    def get_config(self) -> dict[str, Any]:
        """Return the optimizer with its present learning rate, the factors and the name."""
        given = self._inside.given
        serialized = keras.saving.serialize_keras_object(given)
        # On torch, Keras replaces its classes by others, which no other backend has.
        name = type(given).__name__
        if type(given).__module__.startswith("keras.") and hasattr(keras.optimizers, name):
            serialized.update(module="keras.optimizers", class_name=name, registered_name=None)
        factors: dict[str, float] | list[float]
        if isinstance(self.factors, dict):
            factors = dict(self.factors)
        else:
            factors = list(self.factors)
        return {"optimizer": serialized, "factors": factors, "name": self.name}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "RateFactors":
        """Return an unused optimizer with this config."""
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects)
        return cls(optimizer, config["factors"], name=config["name"])


def rates_of(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> tuple[keras.optimizers.Optimizer, list[float]]:
    """Return the optimizer of `variables` without its factors, and their present learning rates.

    The rates are NaN for a `MultiOptimizer`.
    """
    optimizer = unscaled(optimizer)
    rate = rate_of(optimizer)
    if rate is None:
        rate = math.nan
    if not isinstance(optimizer, RateFactors):
        return optimizer, [rate] * len(variables)
    factors = _factors_of(variables, optimizer.factors)
    return optimizer._inside.given, [rate * factor for factor in factors]


def _check_optimizer(optimizer: Any) -> None:
    check_type("optimizer", optimizer, keras.optimizers.Optimizer, "an optimizer of Keras")
    required = None
    if "learning_rate" not in optimizer.get_config() or _has_others(optimizer):
        # A `LossScaleOptimizer` around the result is what Keras makes for float16.
        required = "be one that updates weights itself, not one that has others"
    elif optimizer.built:
        required = "not have been used: what it has learned would be lost"
    elif excludes_from_weight_decay(optimizer):
        required = "not exclude weights from decay: call this method of the result"
    if required is not None:
        raise ValueError(f"`optimizer` must {required}. Received: optimizer={optimizer!r}")


def _has_others(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether an optimizer keeps others, to whose learning rates no factor would apply."""
    for value in vars(optimizer).values():
        if any(isinstance(item, keras.optimizers.Optimizer) for item in items_of(value)):
            return True
    return False


def _checked_factors(factors: Any) -> dict[str, float] | list[float]:
    """Return the factors as numbers of Python, which a config holds."""
    if isinstance(factors, Mapping):
        checked = {}
        for pattern, factor in factors.items():
            check_type("factors", pattern, str, "a dict from patterns, or a list")
            checked[pattern] = float(check_number(f"factors[{pattern!r}]", factor, positive=True))
        return checked
    required = "a dict from patterns to factors, or a list of factors"
    if isinstance(factors, str):
        raise TypeError(f"`factors` must be {required}. Received: factors={factors!r}")
    check_type("factors", factors, Sequence, required)
    in_order = []
    for place, factor in enumerate(factors):
        in_order.append(float(check_number(f"factors[{place}]", factor, positive=True)))
    return in_order


def _factors_of(
    variables: Sequence[keras.Variable], factors: dict[str, float] | list[float]
) -> list[float]:
    """Return the factor of each weight."""
    if not isinstance(factors, dict):
        if len(factors) != len(variables):
            raise ValueError(
                "`factors` must have a factor for each weight. "
                f"Received: {len(factors)} factors for {len(variables)} weights"
            )
        return list(factors)
    paths = [variable.path for variable in variables]
    first_names = {path.partition("/")[0] for path in paths}
    short_paths = paths
    if len(first_names) == 1:  # mostly that of the model
        short_paths = [path.partition("/")[2] for path in paths]

    def matches(pattern: str, names: tuple[str, str]) -> bool:
        return any(matches_path(pattern, name) for name in names)

    names = {short: (path, short) for path, short in zip(paths, short_paths, strict=True)}
    found = first_matches("factors", factors, names, matches)
    return [factors[found[path][0]] if path in found else 1.0 for path in short_paths]


def _is_update(variable: keras.Variable) -> bool:
    """Return whether the gradient of a weight is one, not a new value as for scales of float8."""
    return not getattr(variable, "overwrite_with_gradient", False)


def _counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Return the variable that counts the calls. `iterations` counts updates."""
    return next(variable for variable in optimizer.variables if variable.name == "iteration")


def _clipping_scale(gradients: Sequence[Tensor], limit: float) -> Tensor:
    """Return the factor that makes the norm of all gradients at most `limit`, as Keras does."""
    squares = [keras.ops.sum(keras.ops.square(gradient)) for gradient in gradients]
    norm = keras.ops.sqrt(keras.ops.sum(keras.ops.stack(squares)))
    scale = limit * keras.ops.minimum(1 / norm, 1 / limit)
    return scale + (norm - norm)  # NaN if the norm is not finite
