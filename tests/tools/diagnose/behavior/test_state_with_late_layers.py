"""A diagnosis leaves what a model keeps, where it makes layers in its first call or has one that it never calls."""

import concurrent.futures
import functools
import random

import keras
import numpy as np
import pytest
from kept_state import X, Y, buffers, state, wrapped
from keras import layers
from modes import BACKEND, needs_keras, to_numpy

import keras_initx
import keras_initx.tools.initialize

# Keras warns of a layer that a model never calls.
pytestmark = pytest.mark.filterwarnings(r"ignore:`build\(\)` was called")

needs_torch = pytest.mark.skipif(BACKEND != "torch", reason="modules of torch need torch")
needs_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="saved models of TensorFlow need TensorFlow")


@pytest.mark.every_backend
@needs_tensorflow
def test_what_a_compiled_call_assigns_is_put_back():
    import tensorflow as tf

    class Compiled(layers.Layer):
        def __init__(self):
            super().__init__()
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

        @tf.function
        def call(self, x):
            self.calls.assign_add(1)
            return x

    model = with_unused(Compiled())
    keras_initx.diagnose(model, X[:5])  # traced for another shape
    assert to_numpy(model.parts[0].calls.value) == 0


class Keeping(layers.Layer):
    """Counts its calls, averages over them and draws from generators, whatever the mode."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(3)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def build(self, shape):
        self.average = self.add_weight(shape=shape[-1:], initializer="zeros", trainable=False)
        self.late_generator = keras.random.SeedGenerator()

    def call(self, x):
        self.calls.assign_add(1)
        self.average.assign(0.9 * self.average + 0.1 * keras.ops.mean(x, axis=0))
        x = keras.random.dropout(keras.random.dropout(x, 0.3, seed=self.generator), 0.3, seed=self.generator)
        return x - self.average + keras.random.normal(x.shape[-1:], dtype=self.compute_dtype, seed=self.late_generator)


class Partly(keras.Model):
    """Has layers that it makes in its first call, and one that it never calls unless told to."""

    def __init__(self, *, uses_all=False):
        super().__init__()
        unbuilt = keras.Sequential([layers.Dense(4), Keeping()])
        self.parts = [layers.Dense(4, "tanh"), unbuilt]
        self.out, self.other, self.uses_all = layers.Dense(3), layers.Dense(3), uses_all
        self.late = None

    def call(self, x):
        if self.late is None:
            self.late = [Keeping(), layers.Dense(4)]
        for part in [*self.parts, *self.late]:
            x = part(x)
        return self.out(x) + self.other(x) if self.uses_all else self.out(x)


def partly(**options):
    keras.utils.set_random_seed(0)
    model = Partly(**options)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    return model


def fit(model):
    return model.fit(X, Y, batch_size=8, epochs=2, verbose=0).history["loss"]


def everything(model):
    """Return all that a training goes on from, but for the generator that models share."""
    kept = [to_numpy(variable.value).copy() for variable in [*model.variables, *model.optimizer.variables]]
    return [*kept, random.getstate()[1], np.random.get_state()[1]]  # noqa: NPY002, a layer may draw from it


def assert_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.release_backends
def test_a_model_trains_as_if_fit_had_built_it():
    losses, model = fit(partly()), partly()
    keras_initx.diagnose(model, X, Y)
    for layer in (model.parts[1].layers[-1], model.late[0]):
        assert not any(to_numpy(value.value).any() for value in (layer.calls, layer.average))
        assert to_numpy(layer.generator.state.value).tolist() == [3, 0]
        assert to_numpy(layer.late_generator.state.value)[1] == 0
    assert fit(model) == losses


def test_nothing_of_a_trained_model_with_a_layer_that_it_never_calls_is_changed():
    model = partly()
    fit(model)
    before = everything(model)
    keras_initx.diagnose(model, X, Y)
    assert_same(everything(model), before)
    keras_initx.lsuv(model, X, seed=0)
    names = [variable.name for variable in [*model.variables, *model.optimizer.variables]]
    pairs = zip([*names, "Python", "NumPy"], everything(model), before, strict=True)
    assert {name for name, *pair in pairs if not np.array_equal(*pair)} == {"kernel"}


def test_a_new_part_of_a_trained_model_is_built_and_nothing_else_changes():
    model = partly()
    fit(model)
    before = state(model)
    model.uses_all = True
    report = keras_initx.diagnose(model, X)
    assert "dense" in {layer.name.rstrip("_0123456789") for layer in report.rows}
    assert model.other.built
    new = [id(variable) for variable in model.other.variables]
    others = [variable for variable in model.variables if id(variable) not in new]
    assert_same([to_numpy(variable.value) for variable in others], before)


def test_a_layer_that_is_called_in_training_only_is_built_and_measured():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.out, self.extra = layers.Dense(3), layers.Dense(3)

        def call(self, x, training=False):
            return self.out(x) + self.extra(x) if training else self.out(x)

    report = keras_initx.diagnose(Model(), X, Y, loss="mse")
    first, second = (layer.gradient.norm for layer in report.rows)
    # Both have the same inputs, and what they give is added.
    assert first == pytest.approx(second, rel=1e-5)
    assert first > 0.1


def test_a_layer_that_is_never_called_costs_no_call_in_later_reports():
    model, calls = partly(), []
    call = model.call
    model.call = lambda x: calls.append(1) or call(x)
    keras_initx.diagnose(model, X)
    assert not model.other.built
    calls.clear()
    keras_initx.diagnose(model, X)
    assert len(calls) == 1


def test_layers_that_are_made_in_a_diagnosis_have_weights_of_their_own():
    models = [Partly(), Partly()]
    for model in models:
        keras_initx.diagnose(model, X)
    one, other = (to_numpy(model.late[1].kernel) for model in models)
    assert not np.array_equal(one, other)


class Calling(layers.Layer):
    """Does in each call what it is told to."""

    def __init__(self, told):
        super().__init__()
        self.told = told

    def call(self, x):
        return x + self.told()


def with_unused(*parts):
    """Return a model of `parts` that has been called once and has a layer that it never calls."""

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts, self.unused = list(parts), layers.Dense(2)

        def call(self, x):
            for part in self.parts:
                x = part(x)
            return x

    model = Model()
    model(X)
    assert not model.unused.built
    return model


@pytest.mark.rare
@pytest.mark.parametrize(
    "make",
    [
        lambda: random.random,
        lambda: np.random.normal,
        pytest.param(
            lambda: functools.partial(keras.random.normal, (6,)),
            marks=[
                needs_keras("3.13", "sets the seed of the generator that layers share"),
                pytest.mark.skipif(BACKEND == "jax", reason="Keras refuses a draw without a seed while JAX traces"),
            ],
        ),
        lambda: functools.partial(keras.random.normal, (6,), seed=keras.random.SeedGenerator(0)),
        lambda: lambda: layers.Dropout(0.5)(np.ones(6, "float32"), training=True),
    ],
    ids=["Python", "NumPy", "Keras", "untracked", "new layer"],
)
def test_what_a_call_draws_is_not_drawn_for_the_model(make):
    def drawn(*, diagnosed):
        keras.utils.set_random_seed(0)
        calling, draw, found = Calling(lambda: 0.0), make(), []
        model = with_unused(layers.Dense(6), calling)
        calling.told = draw
        for _ in range(2):
            if diagnosed:
                keras_initx.diagnose(model, X, X, loss="mse")
                keras_initx.lsuv(model, X, seed=0)
            found.append(to_numpy(draw()))
        return found

    assert_same(drawn(diagnosed=True), drawn(diagnosed=False))


def test_what_other_threads_assign_meanwhile_stays():
    other, values = keras.Variable(0.0), [1.0]

    def assign():
        if values:
            with concurrent.futures.ThreadPoolExecutor() as executor:
                executor.submit(other.assign, values.pop()).result()
        return 0.0

    model = with_unused(Calling(lambda: 0.0))
    model.parts[0].told = assign
    keras_initx.diagnose(model, X)
    assert to_numpy(other.value) == 1


def test_what_a_failing_call_has_assigned_is_put_back():
    keeping, failing = Keeping(), Calling(lambda: 0.0)
    model = with_unused(keeping, failing)
    before = state(model)

    def fail():
        raise ArithmeticError("no call today")

    failing.told = fail
    with pytest.raises(ArithmeticError, match="no call today"):
        keras_initx.diagnose(model, X)
    assert_same(state(model), before)


def test_what_a_failing_call_has_drawn_is_drawn_again():
    def draw():
        return random.random(), np.random.random()  # noqa: NPY002, a layer may draw from it

    def fail():
        draw()
        raise ArithmeticError("no call today")

    calling = Calling(lambda: 0.0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(6), calling])
    calling.told = fail
    keras.utils.set_random_seed(0)
    expected = draw()
    keras.utils.set_random_seed(0)
    with pytest.raises(ArithmeticError, match="no call today"):
        keras_initx.diagnose(model, X)
    assert draw() == expected


def test_a_moving_average_keeps_its_digits_in_mixed_precision():
    with_digits = Keeping()
    with_digits.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    model = with_unused(with_digits)
    with_digits.average.assign(np.full(6, 1 / 3))
    keras_initx.diagnose(model, X)
    np.testing.assert_array_equal(to_numpy(with_digits.average.value), np.full(6, 1 / 3, "float32"))


class Assigning(layers.Layer):
    """Makes weights from a shared generator, and assigns one when it is built."""

    def __init__(self, generator):
        super().__init__()
        self.kernel_initializer = keras_initx.SmallNormal(seed=generator)

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 6), self.kernel_initializer)
        self.table = self.add_weight((6,), "zeros")
        self.table.assign(np.arange(6))

    def call(self, x):
        return x @ self.kernel + self.table


@pytest.mark.every_backend
def test_what_building_draws_and_assigns_stays():
    def built(build):
        generator = keras.random.SeedGenerator(0)
        model = keras.Sequential([Assigning(generator), Assigning(generator)])
        build(model)
        return [*state(model), to_numpy(generator.next())]

    assert_same(built(lambda model: keras_initx.diagnose(model, X)), built(lambda model: model(X)))


@needs_torch
def test_a_wrapped_module_in_a_model_with_a_layer_that_it_never_calls_is_left():
    import torch

    model, module = wrapped()
    model = with_unused(*model.layers)
    module.eval()
    before, generator = buffers(module), torch.random.get_rng_state()
    keras_initx.diagnose(model, 5 + X, Y, loss="mse")
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert not module.training
    assert not module[1].training
    for name, value in buffers(module).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("cells", ["one", "several"])
def test_a_recurrent_layer_that_gets_its_weights_begins_at_zero(cells):
    sequences = X[:, :, None]
    stack = [layers.GRUCell(4), layers.LSTMCell(3)]
    layer = layers.LSTM(3, stateful=True) if cells == "one" else layers.RNN(stack, stateful=True)
    assert keras_initx.diagnose(keras.Sequential([layer]), sequences).rows[0].shape == (16, 3)
    states = keras.tree.flatten(layer.states)
    assert len(states) == (2 if cells == "one" else 3)
    assert not any(to_numpy(state.value).any() for state in states)
