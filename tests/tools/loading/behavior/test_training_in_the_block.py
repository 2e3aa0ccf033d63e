"""What training changes in a block of `loading` stays as the block leaves it, and is put back after an error."""

import math

import keras
import numpy as np
import pytest
from modes import to_numpy
from stacks import built

import keras_initx
from keras_initx import weights_digest
from keras_initx.inspection._inventory import Inventory
from keras_initx.scaling import RateFactors

layers = keras.layers

HEAD = ["head/kernel", "head/bias"]


def fail_while_loading(model, load):
    with keras_initx.loading(model):
        load()
        raise ZeroDivisionError


class Counting(layers.Layer):
    """Has a weight that is no floating-point number."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="count")

    def call(self, x):
        return x


def trained():
    """Return a model with all that training changes: moments, metrics, the state of a generator."""
    model = built((4,), Counting(name="counting"), layers.Dropout(0.5), layers.Dense(2, name="head"))
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    return model


def variables_of(model):
    return [to_numpy(v).copy() for v in [*model.variables, *model.optimizer.variables, *model.metrics_variables]]


def trained_on():
    """Return a model that was trained after its weights had been saved."""
    model = trained()
    model.save_weights("before.weights.h5")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    return model


def change_all(model):
    model.load_weights("before.weights.h5")  # also moments
    model.get_layer("counting").count.assign(3)
    model.predict(np.ones((4, 4)), verbose=0)  # on JAX it takes the arrays of the variables
    model.evaluate(np.ones((4, 4)), np.ones((4, 2)), verbose=0)


@pytest.mark.release_backends
def test_after_an_error_all_else_is_as_before_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = trained_on()
    before = variables_of(model)
    with pytest.raises(ZeroDivisionError):
        fail_while_loading(model, lambda: change_all(model))
    for array, former in zip(variables_of(model), before, strict=True):
        np.testing.assert_array_equal(array, former)


class Smallest(keras.metrics.Metric):
    """Has a variable that does not start at 0."""

    def __init__(self):
        super().__init__(name="smallest")
        self.smallest = self.add_variable((), initializer=keras.initializers.Constant(math.inf), name="value")

    def update_state(self, y_true, y_pred, sample_weight=None):
        smallest = keras.ops.cast(keras.ops.min(y_pred), "float32")
        self.smallest.assign(keras.ops.minimum(self.smallest.value, smallest))

    def reset_state(self):
        self.smallest.assign(math.inf)

    def result(self):
        return self.smallest.value


def scaled_with_used_optimizer(weights):
    """Return an optimizer of which only the one inside is built, and has taken a step."""
    inside = keras.optimizers.SGD(0.01, momentum=0.9)
    inside.build(weights)
    inside.iterations.assign(1)
    inside.variables[-1].assign(np.ones(inside.variables[-1].shape))
    return keras.optimizers.LossScaleOptimizer(inside)


def counted(weights):
    """Return an optimizer that is not built, and whose count goes on from another's."""
    optimizer = keras.optimizers.Adam()
    optimizer.iterations.assign(7)
    return optimizer


UNUSED = {
    "ones": lambda weights: keras.optimizers.Nadam(0.01),
    "a used one inside": scaled_with_used_optimizer,
    "counted": counted,
    "factors": lambda weights: RateFactors(keras.optimizers.Adam(0.01, global_clipnorm=1.0), {"*kernel": 0.5}),
}


def compiled(kind="ones", dtype="float32"):
    keras.utils.set_random_seed(0)
    model = built((4,), layers.Dense(3, name="hidden", dtype=dtype), layers.Dense(2, name="head", dtype=dtype))
    model.compile(UNUSED[kind](model.trainable_variables), "mse", metrics=["mae", Smallest()])
    return model


def fit(model, **options):
    x = np.arange(32, dtype="float32").reshape(8, 4) / 32
    model.fit(x, x[:, :2], batch_size=4, shuffle=False, verbose=0, **options)


def train(model, **options):
    for weight in Inventory(model).weights:
        weight.variable.assign(keras.ops.ones(weight.shape, weight.dtype))
    fit(model, **options)


def assert_as_if_never_loaded(model, twin):
    """Assert that a model, and what training makes of it, are those of one that was not loaded."""
    variables = {variable.path: to_numpy(variable) for variable in model.metrics_variables}
    assert {path: value.tolist() for path, value in variables.items() if np.any(value)} == dict.fromkeys(
        (path for path in variables if path.startswith("smallest")), math.inf
    )
    assert int(model.optimizer.iterations) == int(twin.optimizer.iterations)
    for trained_model in (model, twin):
        fit(trained_model)
    for array, other in zip(variables_of(model), variables_of(twin), strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.rare
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("ones", "float32"),
        ("a used one inside", "float32"),
        ("counted", "float32"),
        ("factors", "mixed_float16"),
    ],
)
def test_an_optimizer_and_metrics_that_were_first_used_in_the_block_are_as_new(kind, dtype):
    model, twin = compiled(kind, dtype), compiled(kind, dtype)
    with pytest.raises(ZeroDivisionError):
        fail_while_loading(model, lambda: train(model))
    assert_as_if_never_loaded(model, twin)


@pytest.mark.release_backends
def test_training_with_nan_that_is_interrupted_is_undone():
    def interrupt(batch, logs):
        raise KeyboardInterrupt

    model, twin = compiled(), compiled()
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    with pytest.raises(KeyboardInterrupt), keras_initx.loading(model):
        fit(model, callbacks=[callback])
    assert_as_if_never_loaded(model, twin)


def test_a_model_in_another_is_trained_and_undone_by_itself():
    inside, twin = compiled(), compiled()
    model = built((4,), inside, layers.Dense(2, name="last"))
    with pytest.raises(ZeroDivisionError):
        fail_while_loading(model, lambda: train(inside))
    assert_as_if_never_loaded(inside, twin)


def test_an_optimizer_that_cannot_be_made_anew_is_named_in_a_note(monkeypatch):
    model = compiled()
    monkeypatch.setattr(type(model.optimizer), "from_config", None)
    monkeypatch.setattr(keras.optimizers.Optimizer, "from_config", None)
    before = weights_digest(model)
    with pytest.raises(ZeroDivisionError) as caught:
        fail_while_loading(model, lambda: train(model))
    assert weights_digest(model) == before
    (note,) = caught.value.__notes__
    assert note.endswith("compile the model again")


def test_what_is_not_watched_stays_as_the_block_leaves_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = trained_on()
    with keras_initx.loading(model) as loaded:
        change_all(model)
    assert loaded.missed == []
    assert [row.path for row in loaded.rows] == HEAD
    assert int(model.get_layer("counting").count) == 3
    assert int(model.optimizer.iterations) == 1
