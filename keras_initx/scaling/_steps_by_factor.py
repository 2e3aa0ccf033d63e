"""Steps of an optimizer with a factor for each weight, also where Keras makes all at once."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_initx._keras import ParallelSteps, momentum_product, place_in, replaced_rate, track
from keras_initx._typing import Tensor


class StepsByFactor(ParallelSteps):
    """Makes the steps of an optimizer with a factor on the learning rate of each weight.

    Attributes:
        rate_factors: The factor of each weight.
    """

    rate_factors: Sequence[float]

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the variables of the optimizer."""
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
        with replaced_rate(self, rate):
            super().update_step(gradient, variable, rate)

    def _update_all(
        self,
        update: Callable[[Sequence[Tensor], Sequence[keras.Variable], Tensor], None],
        grads: Sequence[Tensor],
        variables: Sequence[keras.Variable],
        learning_rate: Tensor,
    ) -> None:
        """Update all weights, those with the same factor at once."""
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
        return self.rate_factors[place_in(self, variable)]


class ScaledSteps(StepsByFactor):
    """Makes the steps of Adafactor with a factor on what it subtracts from each weight.

    Adafactor takes the smaller of the learning rate and `1 / sqrt(step)`. A factor on the rate
    would be lost where the other is smaller.
    """

    # The weight whose step is made, and its factor.
    _in_step: tuple[Any, float] | None = None

    def update_step(
        self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
    ) -> None:
        """Update one weight."""
        vars(self)["_in_step"] = (variable, self._factor_of(variable))
        try:
            super(StepsByFactor, self).update_step(gradient, variable, learning_rate)
            if self._in_step is not None:
                raise TypeError(
                    "`optimizer` must be of a class whose `update_step` changes a weight by "
                    "`self.assign_sub`, where its factor counts. Received: an optimizer that "
                    f"changes {variable.path!r} in another way"
                )
        finally:
            vars(self)["_in_step"] = None

    def assign_sub(self, variable: keras.Variable, value: Tensor) -> None:
        """Subtract from a variable, from the weight in training times its factor."""
        if self._in_step is not None and variable is self._in_step[0]:
            _, factor = self._in_step
            vars(self)["_in_step"] = None
            value = keras.ops.multiply(value, factor)
        super().assign_sub(variable, value)
