"""Gradients that layers hold back, weights that Keras does not track: how serious it is, and what is sound."""

import keras
import numpy as np
import pytest
from diagnosed import FAULTY
from diagnosed.networks import Written
from keras import layers, ops
from modes import to_numpy

import keras_initx

# Keras itself warns of some of the faults.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning"),
]

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(32, 6)).astype("float32")
Y = X[:, :1] * X[:, 1:2]


# What the evidence names.
LEVELS = {
    "code that is rounded": ("error", "hidden, code"),
    "output without a loss": ("warning", "other"),
    "layers in a container that Keras does not search": ("error", "block_0/kernel"),
}


@pytest.mark.parametrize("name", LEVELS)
def test_what_learns_nothing_is_named_with_its_level(name):
    keras.utils.clear_session(free_memory=False)
    model, x, y, loss = FAULTY[name].build(False)
    (verdict,) = keras_initx.diagnose(model, x, y, loss=loss).problems
    level, named = LEVELS[name]
    assert verdict.level == level
    assert named in verdict.evidence


# What is sound.


def problems(model, x=X, y=Y, loss="mse"):
    return [verdict.problem for verdict in keras_initx.diagnose(model, x, y, loss=loss).problems]


class Dropped(layers.Layer):
    """Drops its branch for the whole batch in most steps of training."""

    def __init__(self):
        super().__init__()
        self.branch, self.generator = layers.Dense(6), keras.random.SeedGenerator(0)

    def call(self, x, training=False):
        kept = keras.random.uniform((), seed=self.generator) < 0.1 if training else True
        return x + ops.where(kept, 1.0, 0.0) * self.branch(x)


class Experts(layers.Layer):
    """Sends all examples to one of eight experts."""

    def __init__(self):
        super().__init__()
        self.experts = [layers.Dense(5) for _ in range(8)]

    def call(self, x):
        return sum(ops.where(number == 3, 1.0, 0.0) * expert(x) for number, expert in enumerate(self.experts))


@pytest.mark.parametrize("part", [Dropped, Experts, lambda: layers.MultiHeadAttention(2, 8)])
def test_a_part_that_takes_no_part_in_this_batch_is_no_fault(part):
    layer = part()
    inputs = keras.Input((6,))
    hidden = layers.Dense(6)(inputs)
    if isinstance(layer, layers.MultiHeadAttention):  # of a single position
        hidden = layers.Reshape((1, 6))(hidden)
        hidden = layers.Flatten()(layer(hidden, hidden))
    else:
        hidden = layer(hidden)
    assert problems(keras.Model(inputs, layers.Dense(1)(hidden))) == []


def test_a_recurrent_kernel_of_one_step_is_no_fault():
    model = keras.Sequential([keras.Input((1, 6)), layers.LSTM(4), layers.Dense(1)])
    assert problems(model, X[:, None]) == []


def test_a_loss_that_is_0_already_is_no_fault():
    last = layers.Dense(1, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(2.0))
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4), last])
    assert "no gradient" not in problems(model, X, np.ones((32, 1)), "hinge")


def test_an_unused_output_of_a_model_inside_is_a_note():
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, "relu")(inputs)
    pooled = layers.Dense(9, name="pooled")(hidden)
    backbone = keras.Model(inputs, {"hidden": hidden, "pooled": pooled}, name="backbone")
    model = keras.Model(inputs, layers.Dense(1)(backbone(inputs)["hidden"]))
    (verdict,) = keras_initx.diagnose(model, X, Y, loss="mse").verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("no gradient", "note", ("backbone/pooled",))


def test_a_training_step_of_ones_own_may_train_what_the_loss_does_not():
    class Own(Written):
        def train_step(self, *arguments):
            raise NotImplementedError

    def call(model, x):
        model.second(x)
        return model.out(x)

    assert problems(Own(call, second=layers.Dense(24), out=layers.Dense(1))) == []


def test_weights_are_put_back_after_gradients_of_0():
    model, x, y, loss = FAULTY["code that is rounded"].build(False)
    before = [to_numpy(weight.value).copy() for weight in model.weights]
    keras_initx.diagnose(model, x, y, loss=loss)
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, to_numpy(other.value))


def test_a_frozen_extractor_in_a_function_is_no_fault():
    extractor = layers.Dense(8)
    extractor.build((None, 6))
    extractor.trainable = False
    model = keras.Sequential([keras.Input((6,)), layers.Lambda(lambda x: extractor(x), output_shape=(8,))])
    model.add(layers.Dense(1))
    assert problems(model) == []
