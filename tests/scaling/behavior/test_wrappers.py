"""`RateFactors` inside other optimizers: they train, are saved and start anew as with an optimizer of Keras inside."""

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

from keras_initx import initialize
from keras_initx.scaling import RateFactors

layers = keras.layers
optimizers = keras.optimizers
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(6, 16, 4)).astype("float32")
Y = GENERATOR.normal(size=(6, 16, 2)).astype("float32")
# One factor is not 1, but so little that nothing but its part in the optimizer differs.
NEARLY_ONE = {"*kernel": 1 + 2.0**-20}


def schedule():
    return optimizers.schedules.ExponentialDecay(0.2, 1, 0.5)


OPTIMIZERS = {
    "moments": lambda: optimizers.Adam(0.01),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "decay": lambda: optimizers.AdamW(0.01, weight_decay=0.5),
    "averages": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "schedule": lambda: optimizers.SGD(schedule(), momentum=0.9),
    "sums": lambda: optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5, gradient_accumulation_steps=2),
}


def with_factors(optimizer):
    return RateFactors(optimizer, NEARLY_ONE)


@keras.saving.register_keras_serializable("tests")
class Wrapper(optimizers.Optimizer):
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

    def get_config(self):
        return {"optimizer": keras.saving.serialize_keras_object(self.optimizer), "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects)
        return cls(optimizer, config["name"])


def several(optimizer):
    own = optimizers.SGD(0.1, momentum=0.9)
    return optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizer, {".*last/kernel": own}))


def scaled(optimizer):
    return optimizers.LossScaleOptimizer(optimizer, 2.0**10, dynamic_growth_steps=3)


def as_it_is(optimizer):
    return optimizer


# Each a function that wraps an optimizer, and the policy of the model. With float16, Keras scales the loss.
WRAPPERS = {
    "none": (as_it_is, "float32"),
    "scaled loss": (scaled, "float32"),
    "float16": (as_it_is, "mixed_float16"),
    "user's": (Wrapper, "float32"),
    "user's in float16": (Wrapper, "mixed_float16"),
}
# Each wrapper and most optimizers once.
CASES = [
    ("moments", "float16"),
    pytest.param("momentum", "user's in float16", marks=pytest.mark.rare),
    ("averages", "user's"),
    pytest.param("sums", "scaled loss", marks=pytest.mark.rare),
]
if hasattr(optimizers, "MultiOptimizer"):
    WRAPPERS["several"] = several, "float32"
    WRAPPERS["several in float16"] = several, "mixed_float16"
    CASES.append(pytest.param("schedule", "several", marks=pytest.mark.rare))
    CASES.append(pytest.param("decay", "several in float16", marks=pytest.mark.release_backends))


@pytest.fixture(autouse=True)
def float32():
    """Undo the global policy, which decides whether a model that is loaded scales the loss."""
    yield
    keras.config.set_dtype_policy("float32")


def network(policy="float32"):
    keras.config.set_dtype_policy(policy)
    hidden = layers.Dense(4, "tanh", name="first")
    model = keras.Sequential([keras.Input((4,)), hidden, layers.Dense(2, name="last")], name="model")
    initialize(model, seed=0)
    return model


def compiled(name, wrapper, change=with_factors):
    """Return a model with an optimizer that is changed and then wrapped."""
    wrap, policy = WRAPPERS[wrapper]
    model = network(policy)
    model.compile(wrap(change(OPTIMIZERS[name]())), "mse")
    return model


def train(model, steps):
    return [float(model.train_on_batch(X[step], Y[step])) for step in steps]


def state(model):
    return [to_numpy(variable.value).copy() for variable in [*model.weights, *model.optimizer.variables]]


def assert_equal_states(first, second):
    for values in zip(state(first), state(second), strict=True):
        np.testing.assert_array_equal(*values)


@pytest.mark.parametrize(("name", "wrapper"), CASES)
def test_it_trains_is_saved_and_starts_anew_as_an_optimizer_of_keras(name, wrapper, tmp_path):
    plain, model = compiled(name, wrapper, as_it_is), compiled(name, wrapper)
    losses = train(model, range(3))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    train(model, range(3, 6))
    train(loaded, range(3, 6))
    assert_equal_states(loaded, model)
    np.testing.assert_allclose(losses, train(plain, range(3)), rtol=1e-4)
    train(plain, range(3, 6))
    for weights in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(*weights, atol=2e-5)
    initialize(model, seed=0)
    assert train(model, range(3)) == losses


def test_variables_that_keras_does_not_list_where_the_loss_is_scaled_start_anew():
    model, alone = network(), network()
    model.compile(scaled(with_factors(optimizers.Nadam(0.1))), "mse")
    alone.compile(optimizers.Nadam(0.1), "mse")
    losses = train(model, range(6))
    np.testing.assert_allclose(losses, train(alone, range(6)), rtol=1e-4)
    initialize(model, seed=0)
    assert train(model, range(6)) == losses


def test_a_model_in_hdf5_is_loaded_with_an_optimizer_that_starts_anew(tmp_path):
    model, fresh = compiled("moments", "none"), compiled("moments", "none")
    model.compile(model.optimizer, keras.losses.MeanSquaredError())
    train(model, range(3))
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5")
    fresh.set_weights(model.get_weights())
    assert train(loaded, range(3)) == train(fresh, range(3))


def test_each_variable_has_a_path_of_its_own_as_a_state_tree_wants_it():
    model = compiled("sums", "float16")
    train(model, range(3))
    before = state(model)
    tree = keras.tree.map_structure(np.array, model.get_state_tree("numpy_array"))
    train(model, range(3, 6))
    model.set_state_tree(tree)
    for values in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(*values)


def test_a_schedule_that_is_set_later_is_saved_with_the_rest(tmp_path):
    model = compiled("momentum", "none")
    train(model, range(2))
    model.optimizer.learning_rate = schedule()
    train(model, range(2, 4))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_equal_states(loaded, model)


def test_an_optimizer_that_was_not_used_is_saved_as_one_of_keras(tmp_path):
    model = compiled("moments", "float16")
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading"):
        loaded = keras.models.load_model(tmp_path / "model.keras")
    train(model, range(3))
    train(loaded, range(3))
    assert_equal_states(loaded, model)


@pytest.mark.release_backends
@pytest.mark.skipif(BACKEND != "tensorflow", reason="a checkpoint of TensorFlow")
def test_a_checkpoint_of_tensorflow_has_all_variables(tmp_path):
    import tensorflow as tf

    model, other = (compiled("moments", "scaled loss") for _ in range(2))
    train(model, range(3))
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(tmp_path / "checkpoint")
    other.optimizer.build(other.trainable_variables)
    tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path)
    assert_equal_states(model, other)
