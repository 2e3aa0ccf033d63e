"""The coordinate check names what is wrong in set-ups that lack a part of muP."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from scripts import script

from keras_initx import initialize, recipes, scaling
from keras_initx.scaling import RateFactors

widths = script("widths")
WORDS, LENGTH = widths.WORDS, widths.LENGTH
DEPTHWISE = "depthwise/kernel"
adam = functools.partial(keras.optimizers.Adam, 0.01)
sgd = functools.partial(keras.optimizers.SGD, 0.1)


def perceptron(width):
    hidden = [layers.Dense(width, "relu", name=name) for name in ("first", "second", "third")]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(4, name="last")])


def convolutions(width):
    parts = [
        layers.Reshape((4, 4, 1)),
        layers.Conv2D(width, 2, name="first"),
        layers.DepthwiseConv2D(2, activation="relu", name="depthwise"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(4, name="last"),
    ]
    return keras.Sequential([keras.Input((16,)), *parts])


def summed(width):
    """Return a network that adds up its units."""
    inputs = keras.Input((16,))
    x = layers.Dense(width, "relu", name="first")(inputs)
    x = layers.Dense(width, "relu", name="second")(x)
    x = keras.ops.sum(x, axis=-1, keepdims=True)
    return keras.Model(inputs, layers.Dense(4, name="last")(x))


def words(width, *, tied):
    """Return a network that reads words and says words, of the embedding if `tied`."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    embedding = layers.Embedding(WORDS, width, keras.initializers.RandomNormal(stddev=0.1), name="embedding")
    x = embedding(tokens)
    x = layers.Dense(width, "relu", name="hidden")(x)
    if tied:
        x = layers.Rescaling(16 / width)(x)
        return keras.Model(tokens, widths.TiedLogits(embedding, name="last")(x))
    return keras.Model(tokens, layers.Dense(WORDS, name="last")(x))


def residual(depth, *, divided=True):
    inputs = keras.Input((16,))
    x = layers.Dense(32, name="first")(inputs)
    for block in range(depth):
        y = layers.Dense(32, "relu", name=f"block_{block}")(x)
        x = x + layers.Rescaling(2 / depth if divided else 1.0)(y)
    return keras.Model(inputs, layers.Dense(4, name="last")(x))


def check(network, optimizer=adam, *, rates=(), sizes=(), plain=False, factors_of=None, scales=(16, 128)):
    """Return the check of a network with muP, but for powers of the width on some weights."""

    def build(scale):
        model = network(scale)
        initialize(model, recipes.spectral(model), seed=0)
        if scales == DEPTHS:
            table = scaling.mup(model, model, depth=scale / scales[0])
        else:
            table = scaling.mup(model, network(scales[0]))
        factors = dict(zip(table_paths(table), table.learning_rates(factors_of or optimizer()), strict=True))
        ratio = scale / scales[0]
        for path in factors.keys() & dict(rates).keys():
            factors[path] *= ratio ** dict(rates)[path]
        for variable, path in zip(model.trainable_variables, factors, strict=True):
            if path in dict(sizes):
                variable.assign(variable * ratio ** dict(sizes)[path])
        used = optimizer() if plain else RateFactors(optimizer(), list(factors.values()))
        model.compile(used, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    generator = np.random.default_rng(0)
    if "int" in network(scales[0]).inputs[0].dtype:
        x = generator.integers(0, WORDS, (32, LENGTH))
        y = (7 * x + 3) % WORDS
    else:
        x = generator.normal(size=(64, 16)).astype("float32")
        y = np.argmax(x[:, :4], axis=1)
    return scaling.coordinate_check(build, scales, x, y, steps=2)


def table_paths(table):
    return [weight.path for weight in table.weights]


tied = functools.partial(words, tied=True)
untied = functools.partial(words, tied=False)
undivided = functools.partial(residual, divided=False)
DEPTHS = (2, 8)

RIGHT = {
    "Adam": lambda: check(perceptron),
    "convolutions": lambda: check(convolutions),
    "tied": lambda: check(tied),
    "depth, SGD": lambda: check(residual, sgd, scales=DEPTHS),
}

# What is wrong, and the layer and the cause that must be named first.
WRONG = {
    "no factors": (lambda: check(perceptron, plain=True), "second", "rate"),
    "factors of Adam for SGD": (lambda: check(perceptron, sgd, factors_of="adam"), "first", "rate"),
    "no factor in the output": (lambda: check(perceptron, rates={"last/kernel": 1}), "last", "rate"),
    "no factor on the output's weights": (lambda: check(perceptron, sizes={"last/kernel": 0.5}), "last", "std"),
    "a factor on an embedding": (lambda: check(untied, rates={"embedding/embeddings": -1}), "embedding", "rate"),
    "a small depthwise kernel": (lambda: check(convolutions, sizes={DEPTHWISE: -0.5}), "depthwise", "std"),
    "branches not divided": (lambda: check(undivided, scales=DEPTHS), "last", "unknown"),
    "a sum over units": (lambda: check(summed), "last", "unknown"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_found_where_nothing_is_wrong(name):
    found = RIGHT[name]()
    assert found.problems == []
    assert found.uneven == {}


@pytest.mark.parametrize("name", WRONG)
def test_the_wrong_layer_is_named_with_the_cause(name):
    make, layer, cause = WRONG[name]
    found = make()
    assert (found.problems[0].layer, found.problems[0].cause) == (layer, cause)


@pytest.fixture
def float16():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("float16")
def test_factors_are_seen_in_an_optimizer_that_scales_the_loss():
    (problem,) = check(perceptron, rates={"last/kernel": 1}).problems
    assert (problem.layer, problem.cause) == ("last", "rate")


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
def test_the_rates_of_several_optimizers_are_not_judged():
    def several():
        return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd()))

    assert all(problem.cause != "rate" for problem in check(perceptron, several, plain=True, factors_of="sgd").problems)
