"""Kinds of faults, each by what training does: faulty, repaired, and with the remedy where it is an object."""

import keras
import numpy as np
import pytest
import remedies
from keras import layers, ops

import keras_initx

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(64, 8)).astype("float32")
SIDE = (X[:, :1] > 0).astype("float32")
LABELS = np.argmax(X[:, :4], axis=-1)
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
COUNTS = np.round(np.exp(X[:, :1])).astype("float32")
STEPS = DRAWS.normal(size=(16, 32, 6)).astype("float32")
WORDS = DRAWS.integers(1, 12, (16, 8))


def network(units, activation=None, after=(), **options):
    stack = [layers.Dense(16, "relu", name="hidden"), layers.Dense(units, activation, name="out", **options), *after]
    return keras.Sequential([keras.Input((8,)), *stack])


# ---------------------------------------------------------------- undefined loss


def contrastive(y, distance):
    return ops.mean(y * ops.square(distance) + (1 - y) * ops.square(ops.maximum(1 - distance, 0)))


def siamese(is_repaired):
    """Some pairs are equal by accident: the root of their distance has no gradient."""
    shared = network(4)
    left, right = keras.Input((8,)), keras.Input((8,))
    squares = ops.sum(ops.square(shared(left) - shared(right)), axis=-1, keepdims=True)
    distance = ops.sqrt(ops.maximum(squares, 1e-7) if is_repaired else squares)
    others = np.concatenate([X[:8], X[:7:-1]])
    return keras.Model([left, right], distance), [X, others], (np.arange(64) % 2)[:, None] * 1.0, contrastive


def counts(is_repaired):
    return network(1, "softplus" if is_repaired else None), X, COUNTS, "poisson"


class Standardized(keras.Model):
    """Divide each example by the deviation of its features, which is 0 where no unit is active."""

    def __init__(self, least):
        super().__init__()
        self.least = least
        self.hidden, self.out = layers.Dense(4, "relu", name="hidden"), layers.Dense(1, name="out")

    def call(self, inputs):
        hidden = self.hidden(inputs)
        return self.out(hidden / ops.sqrt(ops.var(hidden, axis=-1, keepdims=True) + self.least))


def standardized(is_repaired):
    x = X * (np.arange(64) > 3)[:, None]
    return Standardized(1e-3 if is_repaired else 0.0), x, SIDE, "mse"


def percentages(is_repaired):
    return network(1), X, SIDE, "mae" if is_repaired else "mape"


def directions(is_repaired):
    return network(4, kernel_initializer="glorot_uniform" if is_repaired else "zeros"), X, X[:, :4], "cosine_similarity"


def logarithms(is_repaired):
    """The logarithm of what a ReLU gives, in a loss of one's own."""

    def likelihood(y, rate):
        return ops.mean(rate - y * ops.log(ops.maximum(rate, 1e-3) if is_repaired else rate))

    return network(1, "softplus" if is_repaired else "relu"), X, COUNTS, likelihood


# ---------------------------------------------------------------- impossible labels


def speech(is_repaired):
    """Strides leave four steps for eight labels."""
    conv = layers.Conv1D(16, 3, strides=2 if is_repaired else 8, padding="same", activation="relu")
    model = keras.Sequential([keras.Input((32, 6)), conv, layers.Dense(12, name="out")])
    return model, STEPS, WORDS, keras.losses.CTC()


def padded(is_repaired):
    """Rows are filled with -1, as if 0 were a label."""
    y = np.where(np.arange(8) < 5, WORDS - 1, -1)
    model = keras.Sequential([keras.Input((32, 6)), layers.GRU(8, return_sequences=True), layers.Dense(12, name="out")])
    return model, STEPS, y + 1 if is_repaired else y, "ctc"


def several_columns(is_repaired):
    return network(3 if is_repaired else 1), X, X[:, :3], "mse"


# ---------------------------------------------------------------- lost precision


def in_16_bits(dtype, **options):
    def build(is_repaired):
        hidden = [layers.Dense(32, "relu", dtype=dtype), layers.Dense(32, "relu", dtype=dtype)]
        model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(4, dtype=dtype)])
        # The same on every backend.
        for seed, layer in enumerate(model.layers):
            layer.kernel.assign(keras_initx.HeNormal(seed=seed)(layer.kernel.shape))
        model.compile(keras.optimizers.Adam(**(options if is_repaired else {})), CLASSES)
        return model, X, LABELS, None

    return build


# ---------------------------------------------------------------- unreachable targets


def two_activations(is_repaired):
    return network(1, None if is_repaired else "relu", [layers.Activation("sigmoid")]), X, SIDE, "binary_crossentropy"


def softmax_twice(is_repaired):
    model = network(4, None if is_repaired else "softmax", [layers.Softmax()])
    return model, X, LABELS, "sparse_categorical_crossentropy"


def rectified_tanh(is_repaired):
    after = [] if is_repaired else [layers.ReLU(name="last")]
    return network(1, None if is_repaired else "tanh", after), X, COUNTS, "mse"


PROGRAMS = {
    "root of distances": (siamese, "undefined loss"),
    "Poisson": (counts, "undefined loss"),
    "deviations": (standardized, "undefined loss"),
    "percentages": (percentages, "undefined loss"),
    "directions": (directions, "undefined loss"),
    "logarithms": (logarithms, "undefined loss"),
    "speech": (speech, "impossible labels"),
    "padded": (padded, "impossible labels"),
    "several columns": (several_columns, "impossible labels"),
    "float16": (in_16_bits("float16", epsilon=1e-4), "lost precision"),
    "bfloat16": (in_16_bits("bfloat16", beta_2=0.99), "lost precision"),
    "two activations": (two_activations, "unreachable targets"),
    "softmax twice": (softmax_twice, "unreachable targets"),
    "rectified tanh": (rectified_tanh, "unreachable targets"),
}


def built(name, is_repaired):
    keras.utils.set_random_seed(0)
    return PROGRAMS[name][0](is_repaired)


def problems(network):
    model, x, y, loss = network
    return keras_initx.diagnose(model, x, y, loss=loss).problems


def remedied(name):
    """Return a faulty program with the first remedy, None if that is words only."""
    network = built(name, False)
    remedy = problems(network)[0].remedy
    return remedies.applied(network, remedy) if remedies.can_be_applied(remedy) else None


# Where backends differ: gradients that are not finite, a loss of each, 16 bits. JAX would take minutes to compile all.
EVERYWHERE = {"deviations", "speech", "bfloat16"}
ONE_OF_EACH = {"Poisson", "speech", "bfloat16", "softmax twice"}


def marked(mark, unmarked):
    """Return all programs, with a mark unless they are among the unmarked."""
    return [name if name in unmarked else pytest.param(name, marks=mark) for name in PROGRAMS]


@pytest.mark.parametrize("name", marked(pytest.mark.once, EVERYWHERE))
def test_the_fault_is_named_and_not_its_effects(name):
    _, problem = PROGRAMS[name]
    assert [verdict.problem for verdict in problems(built(name, False))] == [problem]
    assert problems(built(name, True)) == []
    cured = remedied(name)
    assert cured is None or problems(cured) == []


class Masked(keras.Model):
    """Set the logits of some classes to minus infinity, which the loss takes."""

    def __init__(self):
        super().__init__()
        self.out = layers.Dense(8, name="out")

    def call(self, inputs):
        return ops.where(np.arange(8) < 4, self.out(inputs), -np.inf)


@pytest.mark.once
def test_outputs_may_be_infinite_on_purpose():
    if not np.isfinite(ops.convert_to_numpy(CLASSES(LABELS, Masked()(X)))):
        pytest.skip("this version of Keras multiplies infinite logits by 0")
    assert problems((Masked(), X, LABELS, CLASSES)) == []


def trained(network):
    """Return the loss of the last epoch."""
    model, x, y, loss = network
    if not model.compiled:
        model.compile(keras.optimizers.Adam(0.01), loss)
    return model.fit(x, y, batch_size=16, epochs=20, verbose=0).history["loss"][-1]


@pytest.mark.once
@pytest.mark.parametrize("name", marked(pytest.mark.full, ONE_OF_EACH))
def test_training_says_the_same(name):
    faulty = trained(built(name, False))
    assert not faulty < 1.5 * trained(built(name, True))  # it may be NaN
    cured = remedied(name)
    assert cured is None or not faulty < 1.5 * trained(cured)
