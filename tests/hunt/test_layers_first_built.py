"""Layers, initializers, and whoever builds first: the same values or the same error, and Keras as before."""

import functools
import re
import warnings

import keras
import numpy as np
import pytest
from cases import CASES, FIRST_CASES, with_cases
from layer_table import LORA, TABLE, Row
from modes import BACKEND, to_numpy

import keras_initx

pytestmark = pytest.mark.every_backend

layers = keras.layers

# Adapters are made after a layer is built.
BUILT_LATER = {name: row for name, row in TABLE.items() if row.arguments != LORA}
WEIGHTS = [(name, argument) for name, row in BUILT_LATER.items() for argument in row.arguments.split()]


class Calling(keras.Model):
    """A subclassed model, for layers that take several inputs."""

    def __init__(self, layer: keras.Layer, inputs: int):
        super().__init__()
        self.layer, self.inputs_of_layer = layer, inputs

    def call(self, x):
        return self.layer(*[x] * self.inputs_of_layer)


def by_build(layer: keras.Layer, row: Row) -> None:
    layer.build(*[row.shape] * row.inputs)


def by_input(layer: keras.Layer, row: Row) -> None:
    inputs = keras.Input(row.shape[1:])
    keras.Model(inputs, layer(*[inputs] * row.inputs))


def by_fit(model: keras.Model, row: Row) -> None:
    def loss(y, outputs):
        return keras.ops.mean(keras.ops.cast(outputs, "float32"))

    # The weights stay what they are. All but TensorFlow build before the first epoch.
    model.compile(keras.optimizers.SGD(0.0), loss, jit_compile=False)
    epochs = 1 if BACKEND == "tensorflow" else 0
    model.fit(np.ones((2, *row.shape[1:]), "float32"), np.ones((2, 1), "float32"), epochs=epochs, verbose=0)


def by_fit_of_a_sequence(layer: keras.Layer, row: Row) -> None:
    by_fit(keras.Sequential([layer]), row)


def by_fit_of_a_subclass(layer: keras.Layer, row: Row) -> None:
    by_fit(Calling(layer, row.inputs), row)


def built(name, argument, case, build) -> list[np.ndarray] | str:
    """Return the weights of a layer that `build` has built, or what the error says, from the argument to its value."""
    row = BUILT_LATER[name]
    keras.utils.set_random_seed(1)
    given = {f"{other}_initializer": "zeros" for other in row.arguments.split()}
    layer = row.make(**{**given, f"{argument}_initializer": case.make()})
    with warnings.catch_warnings():
        # Keras tries to call a layer without a `build` before it raises.
        warnings.filterwarnings("ignore", "Layer .* looks like it has unbuilt state", UserWarning)
        warnings.filterwarnings("ignore", "`ReLUBias` gives all units", UserWarning)  # if it is for a kernel
        try:
            build(layer, row)
        except ValueError as error:
            message = str(error)
        else:
            return [to_numpy(weight) for weight in layer.weights]
    refusal = re.search(r"`\w+`[^\n]*? (?:must|cannot) .*?Received: \w+=", message, re.DOTALL)
    assert refusal, message
    return refusal[0]


def assert_keras_builds() -> None:
    """Check that no variables wait to be made, of a model that could not be built."""
    with keras.StatelessScope():
        variable = keras.Variable("ones", (2,))
    assert to_numpy(variable.value).tolist() == [1, 1]


@pytest.mark.parametrize(("name", "argument", "case"), with_cases(WEIGHTS)[::4])
def test_a_layer_is_the_same_whoever_builds_it_first(name, argument, case):
    expected = built(name, argument, case, by_build)
    fits = [by_fit_of_a_subclass] + [by_fit_of_a_sequence] * (BUILT_LATER[name].inputs == 1)
    if BACKEND == "tensorflow":
        # Each takes a second and megabytes that TensorFlow does not give back, so cases take turns.
        fits = [fits[list(FIRST_CASES).index(case.cls) % len(fits)]]
    for way in [by_input, *fits]:
        found = built(name, argument, case, way)
        assert_keras_builds()
        assert type(found) is type(expected), (way.__name__, found, expected)
        if isinstance(expected, str):
            assert found == expected, way.__name__
            continue
        for weight, value in zip(found, expected, strict=True):
            # Where `fit` builds a model, TensorFlow makes the values in a trace.
            np.testing.assert_allclose(weight, value, rtol=0, atol=0 if case.exact else 1e-5, err_msg=way.__name__)


@pytest.mark.skipif(BACKEND != "torch", reason="Inductor compiles for torch")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("case", FIRST_CASES.values(), ids=str)
def test_inductor_gives_the_values_of_a_call(case):
    import torch

    initializer, shape = case.make(), case.shapes[0]
    compiled = torch.compile(lambda: initializer(shape) * 1)
    np.testing.assert_array_equal(to_numpy(compiled()), to_numpy(initializer(shape)))


@functools.cache  # the gradients of a second one on the same devices would meet those of the first
def mirrored():
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def strategies():
    if BACKEND != "tensorflow":
        return {}
    import tensorflow as tf

    return {
        "one device": lambda: tf.distribute.OneDeviceStrategy("CPU:1"),
        "mirrored": mirrored,
        "several workers": tf.distribute.MultiWorkerMirroredStrategy,
        "central storage": lambda: tf.distribute.experimental.CentralStorageStrategy(["CPU:0", "CPU:1"]),
    }


def replicas(value):
    return getattr(value, "values", (value,))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="strategies of TensorFlow")
@pytest.mark.parametrize("name", strategies())
def test_under_a_strategy_every_case_has_the_values_of_a_plain_one(name):
    strategy = strategies()[name]()
    for case in CASES:
        shape = case.shapes[0]
        expected = to_numpy(case.make()(shape))
        with strategy.scope():
            variable = keras.Variable(case.make(), shape, "float32")
        for replica in replicas(variable.value):
            np.testing.assert_array_equal(to_numpy(replica), expected, err_msg=str(case))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="strategies of TensorFlow")
@pytest.mark.parametrize("case", FIRST_CASES.values(), ids=str)
def test_each_replica_of_a_step_computes_the_values_of_a_plain_call(case):
    import tensorflow as tf

    shape = case.shapes[0]
    values = mirrored().run(tf.function(lambda: case.make()(shape)))
    for replica in replicas(values):
        np.testing.assert_allclose(to_numpy(replica), to_numpy(case.make()(shape)), atol=0 if case.exact else 1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="strategies of TensorFlow")
@pytest.mark.parametrize(
    ("name", "argument", "cls"),
    [
        ("Dense", "kernel", keras_initx.HeNormal),
        ("LSTM of one bias", "bias", keras_initx.ChronoBias),
        ("GRU", "bias", keras_initx.GRUUpdateBias),
        ("LSTM of one bias", "bias", keras_initx.LSTMForgetBias),
        ("MultiHeadAttention", "kernel", keras_initx.Orthogonal),
    ],
)
def test_under_a_strategy_a_layer_first_built_by_fit_is_the_same(name, argument, cls):
    strategy = mirrored()

    def by_fit_in_scope(layer, row):
        with strategy.scope():
            by_fit(Calling(layer, row.inputs), row)

    expected, found = (built(name, argument, FIRST_CASES[cls], way) for way in (by_build, by_fit_in_scope))
    assert_keras_builds()
    assert type(found) is type(expected), (found, expected)
    for weight, value in zip(found, expected, strict=True):
        np.testing.assert_array_equal(weight, value)
