"""On JAX gradients are compiled once, and again when a model computes something else, of which nothing stays."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND

import keras_initx

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(16, 8)).astype("float32")
Y = GENERATOR.normal(size=(16, 3)).astype("float32")

pytestmark = pytest.mark.every_backend
if BACKEND != "jax":
    pytest.skip("only JAX compiles the gradients", allow_module_level=True)


class Scaling(layers.Layer):
    """A layer that reads in each call what it has, of which Keras knows nothing, and one of two frozen weights."""

    factor = 1.0
    factors = np.ones(8, "float32")
    function = staticmethod(lambda values: values)
    used = 0

    def build(self, input_shape):
        self.frozen = [self.add_weight((), keras.initializers.Constant(value), trainable=False) for value in (1, 2)]

    def call(self, inputs):
        return self.function(keras.ops.multiply(inputs * self.factor * self.frozen[self.used], self.factors))


def network():
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(8, "tanh", name="hidden"), Scaling(name="scaling"), layers.Dropout(0.2, seed=1, name="drop")]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(3, name="out")])
    model.compile("sgd", "mse")
    return model


def norms(model, x=X, y=Y, **options):
    found = keras_initx.diagnose(model, x, y, **options).layers
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
    "number": lambda model: setattr(model.get_layer("scaling"), "factor", 2.0),
    "array": lambda model: setattr(model.get_layer("scaling"), "factors", np.full(8, 2, "float32")),
    "another weight": lambda model: setattr(model.get_layer("scaling"), "used", 1),
    "frozen": lambda model: setattr(model.get_layer("hidden"), "trainable", False),
    "quantized": lambda model: model.get_layer("hidden").quantize("int8"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_two_diagnoses_counts(change):
    model, fresh = network(), network()
    before = norms(model)
    for changed in (model, fresh):
        keras.utils.set_random_seed(1)
        CHANGES[change](changed)
    after = norms(model)
    assert after == norms(fresh)
    assert after != before


def test_what_python_is_called_back_for_counts():
    model = network()
    model.get_layer("scaling").function = called_back(1)
    before = norms(model)
    model.get_layer("scaling").function = called_back(2)
    assert norms(model) != before


def test_it_may_be_forbidden_to_compile():
    import jax

    model = network()
    before = norms(model)
    with jax.disable_jit():
        assert norms(model) == pytest.approx(before)


def test_a_second_diagnosis_compiles_nothing(compilations):
    model = network()
    for size in (16, 8):
        norms(model, X[:size], Y[:size], loss="mae")
        norms(model, X[:size], Y[:size])
    assert compilations
    compilations.clear()
    model.set_weights([3 * value for value in model.get_weights()])
    for size in (16, 8):
        norms(model, X[:size], Y[:size], loss="mae")
        norms(model, X[:size] + 1, Y[:size] + 1)
    assert not compilations


def test_reports_during_training_compile_nothing(compilations):
    model = network()
    monitor = keras_initx.SignalMonitor(X, Y, every=1)
    for _ in range(3):  # the second `fit` may compile a step itself
        compilations.clear()
        model.fit(X, Y, batch_size=4, epochs=1, verbose=0, callbacks=[monitor])
    assert len(monitor.history) == 5
    assert not compilations


def test_few_programs_are_kept_and_no_model_with_them(compilations, monkeypatch):
    from keras_initx.backends import _jax

    monkeypatch.setattr(_jax, "_PROGRAMS_AT_MOST", 2)
    model = network()
    for size in (1, 2, 3):
        norms(model, X[:size], Y[:size])
    assert len(_jax._PROGRAMS) == 2
    compilations.clear()
    norms(model, X[:3], Y[:3])
    assert not compilations
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
