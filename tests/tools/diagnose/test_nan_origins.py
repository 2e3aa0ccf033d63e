"""Where NaN arises in a model is named: the layer, the operation, or the code of one's own between two layers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(32, 10)).astype("float32")
X[:4] = 0  # padding
LABELS = DRAWS.integers(0, 3, 32)
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Own(layers.Layer):
    """Applies a function of one's own."""

    def __init__(self, function, **options):
        super().__init__(name="own", **options)
        self.function = function

    def call(self, *tensors):
        return self.function(*tensors)


def unit(x):
    """Return rows of length 1. The root of 0 has no derivative, also where it is not taken."""
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return ops.where(squares > 0, x / ops.sqrt(squares), 0.0)


def guarded(x):
    """Return rows of length 1, with a derivative everywhere."""
    return x / ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-7))


def standardized(x):
    """Divide by the deviation of each row, which is 0 for padding."""
    centered = x - ops.mean(x, axis=-1, keepdims=True)
    return centered / ops.sqrt(ops.mean(ops.square(centered), axis=-1, keepdims=True))


def with_deviation(x):
    """Add the deviation of each row as a feature."""
    variance = ops.mean(ops.square(x - ops.mean(x, axis=-1, keepdims=True)), axis=-1, keepdims=True)
    return ops.concatenate([x, ops.sqrt(variance)], axis=-1)


def distance(one, other):
    return ops.sqrt(ops.sum(ops.square(one - other), axis=-1, keepdims=True))


def stacked(function, is_nested=False, dtype=None):
    """Return a network with a layer that applies `function`, perhaps in a model inside."""
    stack = [layers.Dense(8, use_bias=False, name="first", dtype=dtype), Own(function, dtype=dtype)]
    if is_nested:
        stack = [keras.Sequential([keras.Input((10,)), *stack], name="inner")]
    model = keras.Sequential([keras.Input((10,)), *stack, layers.Dense(3, name="last", dtype=dtype)])
    return model, X, LABELS, CROSSENTROPY


class Written(keras.Model):
    """Applies a function between two layers in its own `call`."""

    def __init__(self, function):
        super().__init__(name="written")
        self.first, self.last = layers.Dense(8, use_bias=False, name="first"), layers.Dense(3, name="last")
        self.function = function

    def call(self, x):
        return self.last(self.function(self.first(x)))


def written(function):
    return Written(function), X, LABELS, CROSSENTROPY


def pairs(function):
    """Return a network of the distances of pairs, of which some are equal."""
    one, other = keras.Input((10,)), keras.Input((10,))
    embedding = layers.Dense(8, name="embedding")
    outputs = layers.Dense(1, name="last")(function(embedding(one), embedding(other)))
    moved = X + (np.arange(32) > 8)[:, None].astype("float32")
    return keras.Model([one, other], outputs), [X, moved], X[:, :1], "mse"


GUARDED = "keras.ops.sqrt(keras.ops.maximum(x, 1e-7))"


def diagnosed(network, **options):
    model, x, y, loss = network
    return keras_initx.diagnose(model, x, y, loss=loss, **options)


def first(network):
    """Return the problem, the layers, the evidence and the remedy of the first verdict."""
    verdict = diagnosed(network).verdicts[0]
    return verdict.problem, verdict.layers, verdict.evidence, verdict.remedy.text


def exponentials(x):
    """A softmax of one's own, which overflows for numbers of some hundreds."""
    powers = ops.exp(100 * x)
    return powers / ops.sum(powers, axis=-1, keepdims=True)


GRADIENTS = {
    "zero rows": lambda: stacked(unit),
    "zero rows in a model inside": lambda: stacked(unit, is_nested=True),
    "deviation of a constant": lambda: stacked(with_deviation),
    "distance of equal pairs": lambda: pairs(Own(distance)),
}
OUTPUTS = {
    "norm over padding": lambda: stacked(standardized),
    "norm over padding in a model inside": lambda: stacked(standardized, is_nested=True),
    "exponentials that overflow": lambda: stacked(exponentials),
}


@pytest.mark.release_backends
@pytest.mark.parametrize(
    "name",
    [
        "zero rows",
        "zero rows in a model inside",
        "deviation of a constant",
        "distance of equal pairs",
    ],
)
def test_a_layer_that_makes_nan_of_a_finite_gradient_is_named(name):
    problem, names, evidence, remedy = first(GRADIENTS[name]())
    own = "inner/own" if "inside" in name else "own"
    assert (problem, names) == ("undefined loss", (own,))
    assert f"the gradient is finite after {own} and not finite before it" in evidence
    assert remedy.startswith(f"in {own}, ")
    assert GUARDED in remedy


@pytest.mark.release_backends
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_layer_that_makes_nan_of_finite_inputs_is_named(name):
    problem, names, evidence, remedy = first(OUTPUTS[name]())
    own = "inner/own" if "inside" in name else "own"
    assert (problem, names) == ("undefined loss", (own,))
    assert f"the outputs of {own} are NaN for finite inputs" in evidence
    assert GUARDED in remedy


def test_without_targets_outputs_of_nan_are_found_too():
    model, x, _, _ = stacked(standardized)
    (verdict,) = keras_initx.diagnose(model, x).problems
    assert (verdict.problem, verdict.layers) == ("undefined loss", ("own",))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("function", [unit, standardized])
def test_the_place_is_found_in_16_bits(function, dtype):
    problem, names, _, _ = first(stacked(function, dtype=dtype))
    assert (problem, names) == ("undefined loss", ("own",))


def test_what_has_a_derivative_everywhere_is_no_problem():
    assert diagnosed(stacked(guarded)).ok


@pytest.mark.parametrize(("function", "is_of_gradient"), [(unit, True), (standardized, False)])
def test_code_of_ones_own_is_named_by_the_layer_before_it(function, is_of_gradient):
    problem, names, evidence, _ = first(written(function))
    assert (problem, names) == ("undefined loss", ("written",))
    assert "the `call` of written, after first" in evidence
    assert ("the gradient is finite" in evidence) == is_of_gradient


def test_an_operation_of_a_functional_model_has_its_own_remedy():
    problem, names, evidence, remedy = first(pairs(distance))
    assert (problem, names) == ("undefined loss", ())
    assert "the operation Sqrt, after embedding" in evidence
    assert remedy == f"use {GUARDED} instead of the operation Sqrt, after embedding"


def test_a_logarithm_of_zeros_is_the_place_also_where_nan_follows_later():
    _, names, evidence, _ = first(stacked(lambda x: ops.log(ops.relu(x))))
    assert names == ("own",)
    assert "are infinite for finite inputs" in evidence


class OfWeight(layers.Layer):
    """Multiplies by the root of a weight that starts at 0."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="zeros", name="scale")

    def call(self, x):
        return x * (1 + ops.sqrt(self.scale))


class Penalized(layers.Layer):
    """Adds a norm of its inputs to the loss."""

    def call(self, x):
        self.add_loss(ops.mean(ops.sqrt(ops.sum(ops.square(x), axis=-1))))
        return x


@pytest.mark.parametrize("own", [OfWeight(name="own"), Penalized(name="own")], ids=["weight", "penalty"])
def test_the_root_of_a_weight_or_in_a_penalty_is_in_its_layer(own):
    stack = [layers.Dense(8, use_bias=False), own, layers.Dense(3)]
    problem, names, _, _ = first((keras.Sequential([keras.Input((10,)), *stack]), X, LABELS, CROSSENTROPY))
    assert (problem, names) == ("undefined loss", ("own",))


def test_a_shared_layer_is_named_where_one_of_its_calls_makes_nan():
    inputs = keras.Input((10,))
    norm, shifted = Own(unit), layers.Dense(10, bias_initializer="ones", name="shifted")
    hidden = norm(layers.Dense(10, use_bias=False)(norm(shifted(inputs))) * 0)
    model = keras.Model(inputs, layers.Dense(3)(hidden + shifted(inputs)))
    assert first((model, X, LABELS, CROSSENTROPY))[1] == ("own",)


def test_a_loss_of_ones_own_is_no_place_in_the_model():
    model = keras.Sequential([keras.Input((10,)), layers.Dense(3, use_bias=False, name="last")])
    loss = lambda y, p: ops.mean(ops.sqrt(ops.sum(ops.square(p), axis=-1)))  # noqa: E731
    problem, names, evidence, _ = first((model, X, np.eye(3)[LABELS], loss))
    assert (problem, names) == ("undefined loss", ("last",))
    assert evidence.startswith("the gradient of the loss of ")


def chain(activation, deviation, depth):
    kernels = [keras.initializers.RandomNormal(stddev=deviation, seed=number) for number in range(depth)]
    hidden = [layers.Dense(16, activation, kernel_initializer=kernel) for kernel in kernels]
    return keras.Sequential([keras.Input((10,)), *hidden, layers.Dense(3)]), X, LABELS, CROSSENTROPY


@pytest.mark.release_backends
@pytest.mark.parametrize(
    ("activation", "deviation", "depth"),
    [pytest.param(ops.sin, 200.0, 9, marks=pytest.mark.rare), (ops.sin, 200.0, 20), (None, 1e6, 8)],
)
def test_what_overflows_on_the_way_is_exploding(activation, deviation, depth):
    """Twenty layers of sines have gradients beyond float32, and eight linear ones outputs."""
    found = diagnosed(chain(activation, deviation, depth)).problems
    assert found[0].problem == "exploding"
    assert "undefined loss" not in [verdict.problem for verdict in found]


def test_nan_of_large_numbers_that_is_finite_for_smaller_ones_is_exploding():
    model, x, y, loss = stacked(exponentials)
    problems = [verdict.problem for verdict in diagnosed((model, 1e5 * x, y, loss)).problems]
    assert problems == ["unscaled inputs", "exploding"]


def test_a_loss_whose_gradient_overflows_is_exploding():
    kernel = keras.initializers.RandomNormal(stddev=1e-12, seed=0)
    model = keras.Sequential([keras.Input((10,)), layers.Dense(3, use_bias=False, kernel_initializer=kernel)])
    loss = lambda y, p: 1e30 * ops.mean(1e10 * p)  # noqa: E731
    assert [verdict.problem for verdict in diagnosed((model, X, np.eye(3)[LABELS], loss)).problems] == ["exploding"]


def test_weights_are_as_before():
    model, x, y, loss = stacked(unit)
    before = model.get_weights()
    keras_initx.diagnose(model, x, y, loss=loss)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_only_overflows_is_no_place():
    """Infinite outputs that are finite for smaller inputs."""
    evidence = [verdict.evidence for verdict in diagnosed(stacked(lambda x: ops.exp(100 * x))).problems]
    assert evidence
    assert not [text for text in evidence if "for finite inputs" in text]
