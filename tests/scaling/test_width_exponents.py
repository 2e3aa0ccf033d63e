"""The exponents of weights and rates, beside those of muP, in set-ups that lack a part of it."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from modes import often
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
    return [weight.path for weight in table.rows]


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

# What is wrong, and the exponents that differ from those of muP: measured, and in muP.
WRONG = {
    "no factors": (
        lambda: check(perceptron, plain=True),
        {f"{name}/kernel": ("rate", 0, -1) for name in ("second", "third", "last")},
    ),
    "factors of Adam for SGD": (
        lambda: check(perceptron, sgd, factors_of="adam"),
        {
            **{f"{name}/bias": ("rate", 0, 1) for name in ("first", "second", "third")},
            "first/kernel": ("rate", 0, 1),
            **{f"{name}/kernel": ("rate", -1, 0) for name in ("second", "third")},
        },
    ),
    "no factor in the output": (
        lambda: check(perceptron, rates={"last/kernel": 1}),
        {"last/kernel": ("rate", 0, -1)},
    ),
    "no factor on the output's weights": (
        lambda: check(perceptron, sizes={"last/kernel": 0.5}),
        {"last/kernel": ("std", -0.5, -1)},
    ),
    "a factor on an embedding": (
        lambda: check(untied, rates={"embedding/embeddings": -1}),
        {"embedding/embeddings": ("rate", -1, 0)},
    ),
    "a small depthwise kernel": (
        lambda: check(convolutions, sizes={DEPTHWISE: -0.5}),
        {DEPTHWISE: ("std", -0.5, 0)},
    ),
}


def different(found):
    """Return the exponents that differ from those of muP, to a half."""
    result = {}
    for weight in found.weights:
        if weight.std_differs:
            result[weight.path] = ("std", round(2 * weight.std) / 2, weight.mup_std)
        if weight.rate_differs:
            result[weight.path] = ("rate", weight.rate, weight.mup_rate)
    return result


@pytest.mark.parametrize("name", often(RIGHT, ["Adam", "tied"]))
def test_nothing_is_found_where_nothing_is_wrong(name):
    assert RIGHT[name]().problems == []


@pytest.mark.parametrize("name", often(WRONG, ["no factors", "no factor on the output's weights"]))
def test_what_differs_from_mup_is_shown(name):
    make, expected = WRONG[name]
    found = make()
    assert different(found) == expected
    assert set(expected) <= {problem.path for problem in found.problems}
    lines = str(found).splitlines()
    assert all(any(line.startswith(path) for line in lines) for path in expected)


def test_a_weight_stands_below_its_layer():
    lines = str(check(perceptron, rates={"last/kernel": 1})).splitlines()
    (place,) = [place for place, line in enumerate(lines) if line.startswith("last ")]
    assert lines[place + 1].split() == ["last/kernel", "0", "-1"]


@pytest.mark.rare
def test_a_layer_that_is_not_level_although_all_is_as_in_mup():
    found = check(summed)
    assert [problem.path for problem in found.problems] == list(found.uneven) == ["last"]
    assert "0 of 6 weights differ from muP." in str(found)


@pytest.mark.rare
def test_models_of_other_layers_are_not_compared_with_mup():
    found = check(undivided, scales=DEPTHS)
    assert [problem.path for problem in found.problems] == ["last"]
    assert list(found.weights) == []
    assert "not compared with muP" in str(found)


def test_zeros_and_rates_of_zero_have_no_exponent():
    found = check(perceptron, functools.partial(keras.optimizers.Adam, 0.0), plain=True)
    assert all(np.isnan(weight.rate) for weight in found.weights)
    assert all(np.isnan(weight.std) == weight.path.endswith("bias") for weight in found.weights)
    assert "Learning rates are not compared" in str(found)


@pytest.fixture
def float16():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.rare
@pytest.mark.usefixtures("float16")
def test_factors_are_seen_in_an_optimizer_that_scales_the_loss():
    assert different(check(perceptron, rates={"last/kernel": 1})) == {"last/kernel": ("rate", 0, -1)}


@pytest.mark.rare
@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
def test_the_rates_of_several_optimizers_are_not_judged():
    def several():
        return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd()))

    found = check(perceptron, several, plain=True, factors_of="sgd")
    assert different(found) == {}
    assert "Learning rates are not compared" in str(found)


class Codebook(layers.Layer):
    """Rows that inputs are compared with: they are used transposed, and muP guesses their axes."""

    def build(self, shape):
        self.entries = self.add_weight((4, shape[-1]), "glorot_uniform", name="entries")

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.entries))


def test_a_weight_of_which_the_axes_are_a_guess_is_not_checked_and_that_is_said():
    def network(width):
        return keras.Sequential([keras.Input((16,)), layers.Dense(width, name="first"), Codebook(name="codebook")])

    found = check(network)
    assert [weight.path for weight in found.weights if not weight.is_checked] == ["codebook/entries"]
    assert not any(weight.differs for weight in found.weights)
    assert "Not checked, because their axes are guessed: 'codebook/entries'." in str(found)
    assert next(line.count("not checked") for line in str(found).splitlines() if "codebook/entries" in line) == 2
