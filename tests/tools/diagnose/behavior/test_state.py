"""A diagnosis leaves what a model keeps as it was, whoever keeps it, and needs nothing that can be trained."""

import concurrent.futures
import contextlib
import random
import threading
import time

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


@needs_torch
def test_moving_averages_of_a_failing_model_are_left():
    model, module = wrapped()
    before = buffers(module)

    def failing(targets, outputs):
        raise ArithmeticError("no loss today")

    with pytest.raises(ArithmeticError, match="no loss today"):
        keras_initx.diagnose(model, X, Y, loss=failing)
    for name, value in buffers(module).items():
        np.testing.assert_array_equal(value, before[name])
    model(X, training=True)
    assert module[1].num_batches_tracked == 1


@needs_torch
def test_a_module_that_was_frozen_without_telling_keras_has_no_gradient():
    model, module = wrapped()
    expected = keras_initx.diagnose(model, X, Y, loss="mse").rows[1].gradient.norm
    module.requires_grad_(False)
    report = keras_initx.diagnose(model, X, Y, loss="mse")
    wrapper, out = report.rows
    assert wrapper.gradient is None
    assert out.gradient.norm == pytest.approx(expected, rel=1e-5)
    assert report.ok
    assert not module[0].weight.requires_grad
    model.layers[1].requires_grad_(False)
    assert [layer.gradient for layer in keras_initx.diagnose(model, X, Y, loss="mse").rows] == [None, None]


@pytest.mark.every_backend
@needs_tensorflow
def test_variables_of_a_saved_model_are_left(tmp_path):
    import tensorflow as tf

    class Counting(tf.Module):
        def __init__(self):
            super().__init__()
            self.count = tf.Variable(0.0, trainable=False)

        @tf.function(input_signature=[tf.TensorSpec((None, 6), "float32")])
        def serve(self, x):
            self.count.assign_add(1.0)
            return x + 0 * self.count

    tf.saved_model.save(Counting(), str(tmp_path))
    layer = layers.TFSMLayer(str(tmp_path), call_endpoint="serve")
    keras_initx.diagnose(keras.Sequential([keras.Input((6,)), layer, layers.Dense(3)]), X, Y, loss="mse")
    assert [to_numpy(variable).item() for variable in layer.variables] == [0]


@pytest.mark.parametrize("frozen", ["all", "first"])
def test_frozen_models_are_diagnosed(frozen):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh"), layers.Dense(3)])
    (model if frozen == "all" else model.layers[0]).trainable = False
    report = keras_initx.diagnose(model, X, Y, loss="mse")
    assert report.ok
    assert [layer.gradient is None for layer in report.rows] == [True, frozen == "all"]


def test_a_loss_that_nothing_trained_takes_part_in_has_gradients_of_zero():
    class Stopped(layers.Layer):
        def call(self, inputs):
            return keras.ops.stop_gradient(inputs)

    model = keras.Sequential([keras.Input((6,)), layers.Dense(3), Stopped()])
    (dense,) = keras_initx.diagnose(model, X, Y, loss="mse").rows
    assert dense.gradient.norm == 0


class Leaving(layers.Layer):
    """Leaves something wherever a call can: a loss, a count, a metric, and numbers that were drawn."""

    def __init__(self):
        super().__init__(name="leaving")
        self.calls = self.add_weight((), "zeros", trainable=False, name="calls")
        self.metric = keras.metrics.Mean(name="size")
        self.generator = keras.random.SeedGenerator(0)

    def call(self, x):
        self.calls.assign(self.calls + 1)
        self.metric.update_state(x)
        self.add_loss(keras.ops.mean(keras.random.uniform((3,), seed=self.generator)) + np.float32(random.random()))
        return x * np.float32(np.random.normal())  # noqa: NPY002


RUNS = {
    "diagnose": lambda model: keras_initx.diagnose(model, X, Y),
    "lsuv": lambda model: keras_initx.lsuv(model, X, seed=0),
}


@pytest.mark.parametrize("run", [pytest.param("diagnose", marks=pytest.mark.release_backends), "lsuv"])
def test_a_call_of_the_model_leaves_only_what_the_function_sets(run):
    kept = [
        layers.Dense(4, "relu", activity_regularizer="l2"),
        layers.BatchNormalization(),
        Leaving(),
    ]
    model = keras.Sequential([keras.Input((6,)), *kept, layers.Dense(3)])
    model.compile("adam", "mse")
    model(X, training=True)

    def left():
        values = [to_numpy(one.value).tolist() for one in model.variables if "kernel" not in one.name]
        numbers = random.getstate(), np.random.get_state()[1:]  # noqa: NPY002
        return values, [id(loss) for loss in model.losses], str(numbers)

    before = left()
    assert len(model.losses) == 2
    RUNS[run](model)
    assert left() == before


def test_a_layer_that_is_made_in_a_diagnosis_has_added_nothing_to_the_loss():
    class Block(layers.Layer):
        def build(self, shape):
            self.dense = layers.Dense(3, activity_regularizer="l2")
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x)

    model = keras.Sequential([Block(), layers.Dense(3)])
    keras_initx.diagnose(model, X)
    assert not model.losses


def next_numbers():
    """Return the numbers of the next automatic names."""
    made = [layers.Dense(1), keras.Sequential(), keras.Model(), keras.Variable(0.0), keras.random.SeedGenerator(0)]
    return [int("".join(filter(str.isdigit, one.name)) or 0) for one in made]


@pytest.mark.parametrize("loss", [None, ["mse", "mae"]], ids=["compiled", "given"])
def test_names_and_metrics_of_two_outputs_are_left(loss):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(3)(inputs)])
    model.compile("sgd", ["mse", "mse"], metrics=[["mae"], [keras.metrics.MeanSquaredError()]])
    model.fit(X, [Y, Y], verbose=0)
    metrics, numbers = model.get_metrics_result(), next_numbers()
    keras_initx.diagnose(model, X, [Y, Y], loss=loss)
    assert next_numbers() == [number + 1 for number in numbers]
    assert model.get_metrics_result() == metrics


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND == "jax", reason="Keras cannot rematerialize a layer with state there")
@needs_keras("3.13", "tells a layer of torch that is called again that it trains")
def test_the_state_of_a_layer_that_the_backward_pass_calls_again_is_left():
    def stacked(scope):
        keras.utils.set_random_seed(0)
        with scope:
            again = [layers.BatchNormalization(), layers.Dropout(0.5, seed=1)]
        return keras.Sequential([keras.Input((6,)), *again, layers.Dense(3)])

    expected = keras_initx.diagnose(stacked(contextlib.nullcontext()), X, Y, loss="mse").rows[-1].gradient.norm
    model = stacked(keras.RematScope("full"))
    before = state(model)
    found = keras_initx.diagnose(model, X, Y, loss="mse").rows[-1].gradient.norm
    assert found == pytest.approx(expected, rel=1e-5)
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_states_of_a_recurrent_layer_are_left():
    sequences = X[:, :, None]
    model = keras.Sequential([keras.Input(batch_shape=(16, 6, 1)), layers.LSTM(3, stateful=True)])
    model(sequences)
    before = state(model)
    assert before[-1].any()
    keras_initx.diagnose(model, sequences, Y, loss="mse")
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_thread_waits_for_another():
    begun = threading.Event()

    class Slow(layers.Layer):
        def call(self, x):
            begun.set()
            time.sleep(0.1)
            return x

    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), Slow(), layers.Dense(3)])
    begun.clear()  # it was called to build the model
    with concurrent.futures.ThreadPoolExecutor() as executor:
        one = executor.submit(keras_initx.diagnose, model, X)
        assert begun.wait(10)
        other = keras_initx.diagnose(model, X)
        assert [layer.name for layer in one.result().rows] == [layer.name for layer in other.rows]
    assert model.layers[0].activation is keras.activations.relu
    assert "call" not in vars(model.layers[0])


@pytest.mark.release_backends
def test_what_one_thread_calls_for_gradients_is_not_recorded_by_another():
    first_pass_is_over, in_second_pass = threading.Event(), threading.Event()

    class Waiting(layers.Layer):
        def call(self, inputs):
            if first_pass_is_over.is_set() and not in_second_pass.is_set():
                in_second_pass.set()
                time.sleep(0.2)
            return inputs

    def loss(targets, outputs):
        first_pass_is_over.set()
        return keras.ops.mean((targets - outputs) ** 2)

    model = keras.Sequential([keras.Input((6,)), Waiting(), layers.Dense(4), layers.Dense(3)])
    with concurrent.futures.ThreadPoolExecutor() as executor:
        one = executor.submit(keras_initx.diagnose, model, X, Y, loss=loss)
        assert in_second_pass.wait(10)
        other = keras_initx.diagnose(model, X)
        one.result()
    assert [layer.after.size for layer in other.rows] == [16 * 4, 16 * 3]


@needs_torch
def test_gradients_are_measured_in_inference_mode_too():
    import torch

    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), layers.Dense(3)])
    expected = keras_initx.diagnose(model, X, Y, loss="mse").to_json()
    with torch.inference_mode():
        assert keras_initx.diagnose(model, X, Y, loss="mse").to_json() == expected
        assert torch.is_inference_mode_enabled()


def with_lora(*stack):
    model = keras.Sequential([keras.Input((6,)), *stack, layers.Dense(3)])
    for layer in model.layers:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2)
    return model


MAKES_COPIES = {
    "LoRA of an embedding": lambda: with_lora(layers.Embedding(50, 4), layers.Flatten()),
    "mixed precision": lambda: with_lora(layers.Dense(8, "relu", dtype="mixed_float16")),
}
LEAVES_ALL = {
    "diagnose": lambda model, x: keras_initx.diagnose(model, x, Y),
    "steps": lambda model, x: keras_initx.diagnose(model, x, Y, steps=2),
    "audit": lambda model, x: keras_initx.audit(model),
    "contract": lambda model, x: keras_initx.contract(lambda: with_lora(layers.Dense(4)), draws=1),
    "plan": lambda model, x: keras_initx.initialize(model, {"*kernel": "he_normal"}, seed=0, dry_run=True),
    "lsuv": lambda model, x: keras_initx.lsuv(model, x, seed=0),
    "initialize": lambda model, x: keras_initx.initialize(model, seed=0),
}
COUNTED = ("cond", "dense", "embedding", "loss_scale_optimizer", "seed_generator", "sgd", "variable")


@pytest.mark.rare
@needs_keras("3.13", "sets the seed of the generator that layers share")
@pytest.mark.parametrize("name", MAKES_COPIES)
def test_what_is_made_next_has_the_name_and_the_seed_that_it_would_have_had(name):
    keras.utils.set_random_seed(0)
    model, x = MAKES_COPIES[name](), np.abs(X)
    optimizer = keras.optimizers.SGD(0.01)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0), "mse")
    model.fit(x, Y, verbose=0)

    def drawn():
        return [*to_numpy(keras.random.uniform((2,))), random.random(), np.random.random()]  # noqa: NPY002, as people draw

    for tool, run in LEAVES_ALL.items():
        keras.utils.set_random_seed(5)
        expected = drawn()
        keras.utils.set_random_seed(5)
        before = [keras.backend.get_uid(kind) for kind in COUNTED]
        run(model, x)
        assert [keras.backend.get_uid(kind) - 1 for kind in COUNTED] == before, tool
        assert drawn() == expected, tool
