"""Optimizers, factors and lists of `mup` that do not fit are refused, with the reason, and nothing is built."""

from typing import Any, NamedTuple

import keras
import pytest

from keras_initx import initialize
from keras_initx.scaling import RateFactors, mup

layers = keras.layers
optimizers = keras.optimizers


def network():
    hidden = [layers.Dense(8, "tanh", name=name) for name in ("first", "second")]
    model = keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(2, name="last")], name="model")
    initialize(model, seed=0)
    return model


def variables_and_gradients():
    variables = [keras.Variable([[1.0, 2.0]], name="kernel"), keras.Variable([3.0, 4.0], name="bias")]
    return variables, [keras.ops.ones((1, 2)), keras.ops.ones((2,))]


def used():
    optimizer = optimizers.SGD(0.1)
    optimizer.build(variables_and_gradients()[0])
    return optimizer


class Holding(optimizers.Adam):
    """Has a config from which it could be made with another learning rate, which would do nothing."""

    def __init__(self, learning_rate=0.1, **options):
        super().__init__(learning_rate, **options)
        self.others = [optimizers.SGD(0.1)]


class WithoutStep(optimizers.Optimizer):
    """Makes its steps where no factor can be applied."""

    def __init__(self, learning_rate=0.1, **options):
        super().__init__(learning_rate, **options)

    def apply(self, grads, trainable_variables=None):
        pass


class ItsOwnSteps(optimizers.SGD):
    """Has `update_step`, but does not use it."""

    def apply(self, grads, trainable_variables=None):
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            variable.assign_sub(self.learning_rate * gradient)


class ItsOwnRate(optimizers.SGD):
    """Has a learning rate that no attribute of Keras has."""

    @property
    def learning_rate(self):
        return 0.5


class WithoutConfig(optimizers.Adam):
    """Has a setting that its config lacks."""

    def __init__(self, learning_rate=0.1, strength=1.0, **options):
        super().__init__(learning_rate, **options)
        self.strength = strength


class Refused(NamedTuple):
    """A function that makes an optimizer, factors, and what is said against one of them."""

    optimizer: Any
    error: type[Exception]
    message: str
    factors: Any = {}


@pytest.mark.parametrize(
    Refused._fields,
    [
        Refused(
            optimizer=lambda: 3,
            error=TypeError,
            message="`optimizer` must be an optimizer of Keras. Received: optimizer=3",
        ),
        Refused(
            optimizer=used,
            error=ValueError,
            message="`optimizer` must be unused, or its state would be lost",
        ),
        Refused(
            optimizer=WithoutStep,
            error=TypeError,
            message=r"`optimizer` must be of a class with a method `update_step`.*'WithoutStep'",
        ),
        Refused(
            optimizer=ItsOwnSteps,
            error=TypeError,
            message=r"`optimizer` must be of a class with an `apply` that makes the steps by "
            r"`super\(\)\.apply`.*'ItsOwnSteps'",
        ),
        Refused(
            optimizer=ItsOwnRate,
            error=TypeError,
            message="`optimizer` must be of a class with the property `learning_rate` of Keras, not.*'ItsOwnRate'",
        ),
        Refused(
            optimizer=lambda: WithoutConfig(strength=2.0),
            error=ValueError,
            message=r"`optimizer` must have a config with all its settings, but it lacks "
            r"\['strength'\]\. .*WithoutConfig",
        ),
        Refused(
            optimizer=lambda: optimizers.LossScaleOptimizer(optimizers.SGD()),
            error=ValueError,
            message="`optimizer` must update weights itself, not by optimizers inside it",
        ),
        Refused(
            optimizer=lambda: RateFactors(optimizers.SGD(), {}),
            error=ValueError,
            message="`optimizer` must update weights itself, not by optimizers inside it",
        ),
        Refused(
            optimizer=Holding,
            error=ValueError,
            message="`optimizer` must update weights itself, not by optimizers inside it",
        ),
        Refused(
            optimizer=optimizers.SGD,
            factors={"a": 0},
            error=ValueError,
            message=r"`factors\['a'\]` must be a positive number",
        ),
        Refused(
            optimizer=optimizers.SGD,
            factors=[1.0, "x"],
            error=TypeError,
            message=r"`factors\[1\]` must be a positive number",
        ),
        Refused(
            optimizer=optimizers.SGD,
            factors={1: 1.0},
            error=TypeError,
            message="`factors` must be a dict from patterns",
        ),
        Refused(
            optimizer=optimizers.SGD,
            factors="abc",
            error=TypeError,
            message="`factors` must be a dict from patterns to factors, or a list of factors",
        ),
    ],
)
def test_what_does_not_fit_is_refused(optimizer, factors, error, message):
    with pytest.raises(error, match=message):
        RateFactors(optimizer(), factors)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"frist/kernel": 2.0}, "'frist/kernel', which matches none; close matches are 'first/kernel'"),
        ([1.0, 2.0], "`factors` must have a factor for each weight. Received: 2 factors for 6 weights"),
    ],
)
def test_factors_of_other_weights_are_refused_and_build_nothing(factors, message):
    optimizer = RateFactors(optimizers.Adam(), factors)
    with pytest.raises(ValueError, match=message):
        optimizer.build(network().trainable_variables)
    assert not optimizer.built


def lora(rank):
    """Return a model with a frozen kernel, whose adapter has as many weights as its bias before."""
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, name="first"), layers.Dense(2, use_bias=False, name="last")], name="model"
    )
    initialize(model, seed=0)
    if rank:
        model.layers[0].enable_lora(rank)
    return model


def test_a_list_of_mup_is_refused_for_other_weights_of_the_same_number():
    before, after = lora(0), lora(2)
    # The bias, and the two factors of the adapter: three weights as before.
    before.layers[0].trainable = True
    after.layers[1].trainable = False
    assert len(before.trainable_variables) == len(after.trainable_variables) == 3
    optimizer = mup(before, before).optimizer(optimizers.Adam(0.1))
    with pytest.raises(
        ValueError, match=r"`factors` must be the factors of the trained weights.*first/\w+' for '.*first/\w+'"
    ):
        optimizer.build(after.trainable_variables)
    assert not optimizer.built
    optimizer.build(before.trainable_variables)


def automatic(width):
    return keras.Sequential([keras.Input((6,)), *(layers.Dense(width) for _ in range(3)), layers.Dense(2)])


def test_a_list_of_mup_fits_a_model_with_other_automatic_numbers_and_no_other_order():
    factors = mup(automatic(16), automatic(8)).learning_rates("adam")
    same = automatic(16)
    assert [variable.path for variable in same.trainable_variables] != factors.paths
    RateFactors(optimizers.Adam(), factors).build(same.trainable_variables)
    swapped = [*same.trainable_variables[2:4], *same.trainable_variables[:2], *same.trainable_variables[4:]]
    RateFactors(optimizers.Adam(), factors).build(swapped)  # a model of the same layers in another order
    mixed = [*same.trainable_variables[1::-1], *same.trainable_variables[2:]]
    with pytest.raises(ValueError, match="`factors` must be the factors of the trained weights, in their order"):
        RateFactors(optimizers.Adam(), factors).build(mixed)


def test_a_saved_list_keeps_the_paths_and_one_of_before_counts_by_its_order():
    model = network()
    factors = mup(model, model).learning_rates("adam")
    config = RateFactors(optimizers.Adam(), factors).get_config()
    assert config["paths"] == [variable.path for variable in model.trainable_variables]
    RateFactors.from_config(config).build(model.trainable_variables)
    # A loaded model may lack the name of the model.
    without = {**config, "paths": [f"model/{path}" for path in config["paths"]]}
    RateFactors.from_config(without).build(model.trainable_variables)
    del without["paths"]
    RateFactors.from_config(without).build(list(reversed(model.trainable_variables)))


def test_adafactor_is_refused_by_name_with_its_reason():
    message = "must not be an Adafactor: it takes the smaller of its learning rate and"
    with pytest.raises(ValueError, match=message):
        RateFactors(optimizers.Adafactor(0.1), {"bias": 0.5})
