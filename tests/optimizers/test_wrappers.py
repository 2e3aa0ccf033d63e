"""`RateFactors` inside other optimizers: they train, are saved and start anew as with an optimizer of Keras inside."""

import functools

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx import initialize, recipes
from keras_initx.optimizers import RateFactors

layers = keras.layers
optimizers = keras.optimizers
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(6, 16, 4)).astype("float32")
Y = GENERATOR.normal(size=(6, 16, 2)).astype("float32")
# One factor is not 1, but so little that nothing but its part in the optimizer differs.
NEARLY_ONE = {"*kernel": 1 + 2.0**-20}

OPTIMIZERS = {
    "moments": lambda: optimizers.Adam(0.01),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "decay": lambda: optimizers.AdamW(0.01, weight_decay=0.5),
    "averages": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "schedule": lambda: optimizers.SGD(optimizers.schedules.ExponentialDecay(0.2, 1, 0.5), momentum=0.9),
    "sums": lambda: optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5, gradient_accumulation_steps=2),
}


def with_factors(optimizer):
    return RateFactors(optimizer, NEARLY_ONE)


@keras.saving.register_keras_serializable("tests")
class Around(optimizers.Optimizer):
    """An optimizer of a user around another."""

    def __init__(self, optimizer, name=None):
        super().__init__(0.0, name=name)
        self.optimizer = optimizer

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.optimizer.build(variables)

    @property
    def variables(self):
        return [*super().variables, *self.optimizer.variables]

    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(trainable_variables)
        self.optimizer.apply(grads, trainable_variables)

    def finalize_variable_values(self, var_list):
        self.optimizer.finalize_variable_values(var_list)

    def get_config(self):
        return {"optimizer": keras.saving.serialize_keras_object(self.optimizer), "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects)
        return cls(optimizer, config["name"])


def several(optimizer):
    return optimizers.MultiOptimizer(
        optimizers.OptimizerMap(optimizer, {".*last/kernel": optimizers.SGD(0.1, momentum=0.9)})
    )


def scaled(optimizer):
    return optimizers.LossScaleOptimizer(optimizer, 2.0**10, dynamic_growth_steps=3)


# Each a function that wraps an optimizer, and the policy of the model.
WRAPPERS = {
    "none": (lambda optimizer: optimizer, "float32"),
    "scaled loss": (scaled, "float32"),
    "float16": (lambda optimizer: optimizer, "mixed_float16"),
    "user's": (Around, "float32"),
}
if hasattr(optimizers, "MultiOptimizer"):
    WRAPPERS["several"] = several, "float32"
    WRAPPERS["several in float16"] = several, "mixed_float16"


@pytest.fixture(autouse=True)
def float32():
    """Undo the global policy, which a loaded model has too."""
    yield
    keras.config.set_dtype_policy("float32")


def network(policy="float32"):
    keras.config.set_dtype_policy(policy)
    hidden = layers.Dense(4, "tanh", name="first")
    model = keras.Sequential([keras.Input((4,)), hidden, layers.Dense(2, name="last")], name="model")
    initialize(model, seed=0)
    return model


def train(model, steps):
    return [float(model.train_on_batch(X[step], Y[step])) for step in steps]


def state(model):
    return [to_numpy(variable.value).copy() for variable in [*model.weights, *model.optimizer.variables]]


CASES = [(name, wrapper) for name in OPTIMIZERS for wrapper in WRAPPERS]


@pytest.mark.parametrize(("name", "wrapper"), CASES)
def test_it(name, wrapper, tmp_path):
    wrap, policy = WRAPPERS[wrapper]
    plain, model = network(policy), network(policy)
    plain.compile(wrap(OPTIMIZERS[name]()), "mse")
    model.compile(wrap(with_factors(OPTIMIZERS[name]())), "mse")
    first = train(model, range(3))
    np.testing.assert_allclose(first, train(plain, range(3)), rtol=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert train(loaded, range(3, 6)) == train(model, range(3, 6))
    for values in zip(state(loaded), state(model), strict=True):
        np.testing.assert_array_equal(*values)
    train(plain, range(3, 6))
    for weights in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(*weights, atol=2e-5)
    initialize(model, seed=0)
    assert train(model, range(3)) == first
