"""On JAX gradients are compiled once, and again when a model computes something else, of which nothing stays."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND, often

import keras_initx

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(16, 8)).astype("float32")
Y = GENERATOR.normal(size=(16, 3)).astype("float32")

pytestmark = pytest.mark.every_backend
if BACKEND != "jax":
    pytest.skip("only JAX compiles the gradients", allow_module_level=True)


class Scaling(layers.Layer):
    """A layer that reads in each call what it has, of which Keras knows nothing, and one of two frozen weights."""

    factors = np.ones(3, "float32")
    function = staticmethod(lambda values: values)
    used = 0

    def build(self, input_shape):
        self.frozen = [self.add_weight((), keras.initializers.Constant(value), trainable=False) for value in (1, 2)]

    def call(self, inputs):
        return self.function(keras.ops.multiply(inputs * self.frozen[self.used], self.factors))


def compiled(*stack):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), *stack])
    model.compile("sgd", "mse")
    return model


def network():
    return compiled(layers.Dense(3, "tanh", name="hidden"), Scaling(name="scaling"), layers.Dense(3))


def norms(model, x=X, y=Y, **options):
    found = keras_initx.diagnose(model, x, y, **options).rows
    return [layer.gradient and layer.gradient.norm for layer in found]


def called_back(factor):
    """Return a function that lets Python multiply, of which the compiled program has the place only."""
    import jax

    def function(values):
        shape = jax.ShapeDtypeStruct((), "float32")
        found = jax.pure_callback(lambda: np.float32(factor), shape)
        return values * found

    return function


CHANGES = {
    "weights": lambda model: model.set_weights([3 * value for value in model.get_weights()]),
    "array": lambda model: setattr(model.get_layer("scaling"), "factors", np.full(3, 2, "float32")),
    "another weight": lambda model: setattr(model.get_layer("scaling"), "used", 1),
    "frozen": lambda model: setattr(model.get_layer("hidden"), "trainable", False),
}


@pytest.mark.parametrize("change", often(CHANGES, ["array"]))
def test_what_changes_between_two_diagnoses_counts(change):
    model, fresh = network(), network()
    before = norms(model)
    for changed in (model, fresh):
        keras.utils.set_random_seed(1)
        CHANGES[change](changed)
    after = norms(model)
    assert after == norms(fresh)
    assert after != before


@pytest.mark.rare
def test_what_python_is_called_back_for_counts():
    model = network()
    model.get_layer("scaling").function = called_back(1)
    before = norms(model)
    model.get_layer("scaling").function = called_back(2)
    assert norms(model) != before


@pytest.mark.rare
def test_it_may_be_forbidden_to_compile():
    import jax

    model = compiled(layers.Dense(3))
    before = norms(model)
    with jax.disable_jit():
        assert norms(model) == pytest.approx(before)


def test_a_second_diagnosis_compiles_nothing(compilations):
    model = compiled(layers.Dense(3))
    for loss in ("mae", "mse"):
        norms(model, loss=loss)
    assert compilations
    compilations.clear()
    model.set_weights([3 * value for value in model.get_weights()])
    for loss in ("mae", "mse"):
        norms(model, X + 1, Y + 1, loss=loss)
    assert not compilations


@pytest.mark.rare
def test_reports_during_training_compile_nothing(compilations):
    model = compiled(layers.Dense(3), layers.Dropout(0.2, seed=1))
    monitor = keras_initx.SignalMonitor(X, Y, every=1)
    for _ in range(3):  # the second `fit` may compile a step itself
        compilations.clear()
        model.fit(X, Y, batch_size=8, epochs=1, verbose=0, callbacks=[monitor])
    assert len(monitor.history) == 3
    assert not compilations


@pytest.mark.rare
def test_few_programs_are_kept_and_no_model_with_them(compilations, monkeypatch):
    from keras_initx.backends import _jax

    monkeypatch.setattr(_jax, "_PROGRAMS_AT_MOST", 1)
    model = compiled(layers.Dense(3))
    for size in (1, 2):
        norms(model, X[:size], Y[:size])
    assert len(_jax._PROGRAMS) == 1
    compilations.clear()
    norms(model, X[:2], Y[:2])
    assert not compilations
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
