"""What `initialize` resets beside the weights: the optimizer, metrics, and the states of layers."""

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import initialize

layers, optimizers = keras.layers, keras.optimizers

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")


class AdamForEach(optimizers.Adam):
    """Has no config of its own."""

    def __init__(self, learning_rate, factors):
        super().__init__(learning_rate)
        self.factors = factors

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate * self.factors[0])


class Momentum(optimizers.Optimizer):
    """Adds variables, and has no config from which it could be made again."""

    def __init__(self, rate):
        super().__init__(rate)

    def build(self, variables):
        super().build(variables)
        self.sums = [self.add_variable_from_reference(variable, "sum") for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, learning_rate * gradient)


OPTIMIZERS = {
    "constants": lambda: optimizers.Adagrad(0.01, initial_accumulator_value=0.3),
    "averages": lambda: optimizers.SGD(0.01, use_ema=True),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)),
    "subclass": lambda: AdamForEach(0.01, [2.0]),
    "scaled loss": lambda: optimizers.LossScaleOptimizer(AdamForEach(0.01, [2.0]), 8.0, dynamic_growth_steps=3),
}
if hasattr(optimizers, "ScheduleFreeAdamW"):
    OPTIMIZERS["weights"] = lambda: optimizers.ScheduleFreeAdamW(0.01)
CHANGES = ["freeze", "lora", "quantize"]


def network():
    return keras.Sequential([keras.Input((4,)), layers.Dense(4, name="hidden"), layers.Dense(3, name="logits")])


def trained(optimizer):
    model = network()
    model.compile(optimizer, "mse", metrics=["mae"])
    model.fit(X, Y, batch_size=4, verbose=0)
    return model


def state(optimizer):
    return [to_numpy(variable.value).copy() for variable in optimizer.variables]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, None) for name in OPTIMIZERS),
        *(("subclass", change) for change in CHANGES),
    ],
)
def test_the_optimizer_is_as_new(name, change):
    model, fresh = trained(OPTIMIZERS[name]()), network()
    hidden = model.layers[0]
    if change == "freeze":
        hidden.trainable = False
    if change == "lora":
        hidden.enable_lora(2)
    if change == "quantize":
        model.layers[1].quantize("int8")
    initialize(model, seed=0)
    initialize(fresh, seed=0)
    expected = OPTIMIZERS[name]()
    expected.build(fresh.trainable_variables)
    for variable, value, initial in zip(
        model.optimizer.variables, state(model.optimizer), state(expected), strict=True
    ):
        if change != "quantize" or "logits" not in variable.name:  # whose kernel is gone, and whose bias is left
            np.testing.assert_array_equal(value, initial, err_msg=variable.path)


def test_a_used_optimizer_in_one_that_was_not_used_is_as_new():
    inside = trained(optimizers.Adam(0.01)).optimizer
    model = network()
    model.compile(optimizers.LossScaleOptimizer(inside), "mse")
    initialize(model, seed=0)
    assert int(inside.iterations) == 0
    assert not any(np.any(value) for value in state(inside)[2:])
    assert not model.optimizer.built


def test_an_optimizer_that_was_not_used_may_be_of_any_kind():
    model = network()
    model.compile(Momentum(0.01), "mse")
    initialize(model, seed=0)
    assert not model.optimizer.built


class Drawing(keras.Model):
    """Has a generator in each place in which a model may keep one."""

    def __init__(self):
        super().__init__()
        made = [keras.random.SeedGenerator(seed) for seed in range(3, 7)]
        self.own, self.several, self.pair, self.named = made[0], [made[1]], (made[2],), {"one": made[3]}
        self.made = lambda: made
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_generators_of_a_model_begin_again_with_their_seeds():
    model = Drawing()
    model(X)
    for generator in model.made():
        generator.next()
    initialize(model, seed=0)
    assert [to_numpy(generator.state).tolist() for generator in model.made()] == [[seed, 0] for seed in range(3, 7)]


@pytest.mark.release_backends
def test_training_continues_with_the_optimizer():
    model = trained(AdamForEach(0.01, [2.0]))
    losses = []
    for _ in range(2):
        initialize(model, seed=0)
        losses.append(model.fit(X, Y, batch_size=4, shuffle=False, verbose=0).history["loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("atomic", [True, False])
def test_an_optimizer_of_unknown_state_is_refused_and_nothing_has_changed(atomic):
    model = trained(Momentum(0.01))
    before = [to_numpy(weight.value).copy() for weight in model.weights]
    with pytest.raises(
        ValueError,
        match=r"`model` must have an optimizer that .* can copy.* Received: optimizer=<",
    ):
        initialize(model, seed=0, atomic=atomic)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(to_numpy(weight.value), value)
    initialize(model, seed=0, reset=False)


def test_an_optimizer_is_made_anew_once():
    made = []

    class Counted(optimizers.Adam):
        @classmethod
        def from_config(cls, config):
            made.append(config)
            return super().from_config(config)

    initialize(trained(Counted(0.01)), seed=0)
    assert len(made) == 1


def test_metrics_are_reset():
    model = trained("sgd")
    assert any(value > 0 for value in model.get_metrics_result().values())
    initialize(model, seed=0)
    assert not any(model.get_metrics_result().values())


def test_states_of_recurrent_layers_are_reset():
    layer = layers.RNN([layers.GRUCell(2), layers.LSTMCell(3)], stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(4, 5, 3)), layer])
    x = np.ones((4, 5, 3), "float32")
    initialize(model, seed=0)
    first, second = (to_numpy(model(x)) for _ in range(2))
    initialize(model, seed=0, reset=False)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, to_numpy(model(x)))
    initialize(model, seed=0)
    np.testing.assert_array_equal(first, to_numpy(model(x)))
