"""The order in which the first `RateFactors` saved its variables.

It had an optimizer for each distinct factor, a part, beside the one that it was made from. All
counted the calls. Where the global norm was clipped it summed the gradients itself.
"""

from collections.abc import Sequence
from typing import Any

import keras

from keras_initx._keras import variables_by_attribute
from keras_initx.structure import all_variables


def former_variables(
    optimizer: Any, config: dict[str, Any], variables: Sequence[keras.Variable]
) -> list[keras.Variable]:
    """Return the variables of a `RateFactors` in the former order.

    What was saved several times is read once, and then into variables that nothing uses.

    Args:
        optimizer: A `RateFactors` that is built.
        config: That of the optimizer without factors.
        variables: Its weights.
    """
    present = variables_by_attribute(optimizer)
    found = [present["_iterations", None]]
    if optimizer.global_clipnorm and optimizer.gradient_accumulation_steps:
        found += [present["_accumulated_gradients", place] for place in range(len(variables))]
    found.append(present["_iterations", None])
    if ("_learning_rate", None) in present:
        found.append(present["_learning_rate", None])
    factors = list(optimizer.rate_factors)
    if isinstance(optimizer.factors, dict):
        order = [*optimizer.factors.values(), 1.0]
    else:
        order = factors
    for factor in dict.fromkeys(order):
        places = [place for place, own in enumerate(factors) if own == factor]
        if places:
            part = optimizer.plain.from_config({**config, "learning_rate": lambda: 0.0})
            part.build([variables[place] for place in places])
            keys = {}
            for (name, place), variable in variables_by_attribute(part).items():
                keys[id(variable)] = name, None if place is None else places[place]
            for variable in all_variables(part, variables):
                found.append(present[keys[id(variable)]])
    known = set()
    for place, variable in enumerate(found):
        if id(variable) in known:
            found[place] = keras.Variable("zeros", variable.shape, variable.dtype, trainable=False)
        known.add(id(variable))
    return found
