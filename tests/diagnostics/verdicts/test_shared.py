"""What several verdicts measure, and the remedies that they share."""

import re

import keras
import numpy as np
import pytest
import strangers
from asked import asked
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx.diagnostics import _layers, _remedy
from keras_initx.diagnostics._first_inputs import differences, first_inputs
from keras_initx.diagnostics.losses.probes import outputs
from keras_initx.diagnostics.verdicts._shared import largest_inputs, remedy_in_depth
from keras_initx.structure._architecture import hidden_branch_ends

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")


def test_the_largest_of_the_inputs():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3, name="first"), layers.Dense(3)])
    found = asked(first_inputs, model, X * np.where(np.arange(8) == 5, 20, 1))
    assert list(found) == ["first"]
    assert found["first"].largest == (5, pytest.approx(20 * np.sqrt((X[:, 5] ** 2).mean()), rel=1e-5))
    images = keras.Sequential([keras.Input((4, 2, 1)), layers.Conv2D(2, 2, name="first")])
    assert asked(first_inputs, images, X.reshape(64, 4, 2, 1))["first"].largest == (0, 0)


def test_what_the_last_layer_gets():
    stack = [layers.Dense(8, name="hidden"), layers.Rescaling(0.01, 3.0), layers.Dense(3, name="out")]
    model = keras.Sequential([keras.Input((8,)), *stack])
    values = 3.0 + 0.01 * to_numpy(model.layers[0](X))
    size = np.sqrt((values**2).mean())
    found = asked(outputs, model, X)
    assert list(found) == ["out"]
    assert found["out"].input_size == pytest.approx(size, rel=1e-4)
    assert asked(differences, model, X) == {
        "hidden": pytest.approx(np.sqrt(X.var(axis=0).mean() / (X**2).mean()), rel=1e-4),
        "out": pytest.approx(np.sqrt(values.var(axis=0).mean()) / size, rel=1e-2),
    }


ROWS = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", ['Orthogonal(gain="relu")', "HeNormal()"]),
        ("leaky_relu", ['Orthogonal(gain="leaky_relu")', "HeNormal()"]),
        ("tanh", ["Orthogonal()", "GlorotUniform()"]),
        ("gelu", []),
    ],
)
def test_the_remedy_in_depth_suits_the_activation(activation, expected):
    found = _remedy.suited([], activation, is_deep=True)
    assert [text for _, text in found] == [f"keras_initx.{expression}" for expression in expected]


@pytest.mark.rare
@pytest.mark.parametrize(
    "end",
    [
        [lambda: layers.Dense(16, "relu")],
        [lambda: layers.Dense(16), layers.BatchNormalization, layers.ReLU],
    ],
    ids=["ReLU of a kernel", "ReLU of a scale"],
)
def test_branches_that_start_small_learn(end):
    outputs = inputs = keras.Input((20,))
    outputs = layers.Dense(16, "relu", kernel_initializer="he_normal")(outputs)
    for _ in range(16):
        branch = outputs
        for layer in end:
            branch = layer()(branch)
        outputs = layers.Add()([outputs, branch])
    model = keras.Model(inputs, layers.Dense(4, kernel_initializer="he_normal")(outputs))
    keras_initx.initialize(model, seed=0)
    labels = np.arange(64) % 4
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    report = keras_initx.diagnose(model, ROWS, labels, loss=loss)
    assert not report.ok
    keras_initx.initialize(model, report, seed=0)
    report = keras_initx.diagnose(model, ROWS, labels, loss=loss)
    assert report.ok
    assert not [verdict for verdict in report.verdicts if verdict.remedy.rules]  # none undoes the one before
    model.compile("sgd", loss)
    kernels = [layer.kernel for layer in model.layers if isinstance(layer, layers.Dense)]
    before = list(map(keras.ops.convert_to_numpy, kernels))
    for _ in range(2):
        model.train_on_batch(ROWS, labels)
    for kernel, former in zip(kernels, before, strict=True):
        assert (keras.ops.convert_to_numpy(kernel) != former).any()


class Block(layers.Layer):
    """A residual block of a user, whose sum only its `call` shows."""

    def __init__(self, after=keras.activations.linear):
        super().__init__()
        self.first = layers.Dense(16, "relu", kernel_initializer="he_normal")
        self.last = layers.Dense(16, kernel_initializer="he_normal")
        self.after = after

    def build(self, shape):
        self.first.build(shape)
        self.last.build(shape)

    def call(self, x):
        return x + self.after(self.last(self.first(x)))


def of_blocks(**options):
    return keras.Sequential(
        [keras.Input((20,)), layers.Dense(16), *[Block(**options) for _ in range(16)], layers.Dense(4)]
    )


def test_branches_in_the_call_of_a_users_layer_start_small_too():
    model = of_blocks()
    keras_initx.initialize(model, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    report = keras_initx.diagnose(model, ROWS, np.arange(64) % 4, loss=loss)
    assert 'kernel_initializer="zeros" in the last layer of each residual branch' in report.problems[0].remedy.text
    keras_initx.initialize(model, report, seed=0)
    report = keras_initx.diagnose(model, ROWS, np.arange(64) % 4, loss=loss)
    assert report.ok
    assert [verdict.remedy.text for verdict in report.verdicts] == [
        "none, if this is intended: the branches open in training"
    ]


def test_zeros_before_an_operation_of_a_users_layer_are_not_advised():
    assert len(hidden_branch_ends(of_blocks())) == 16
    assert not hidden_branch_ends(of_blocks(after=keras.ops.relu))


def test_attention_in_a_users_layer_ends_a_branch_with_its_outputs():
    model = strangers.gpt()
    ends = {name.rpartition("/")[2] for name in hidden_branch_ends(model)}
    assert ends == {"attention_output", model.blocks[0].down.name, model.blocks[1].down.name}


@pytest.mark.parametrize(
    ("between", "remedy"),
    [
        ([], "keras.layers.BatchNormalization() before each activation"),
        ([layers.LayerNormalization], "residual branches, x + f(x), around these layers"),
    ],
    ids=["none", "before each activation"],
)
def test_normalizations_are_advised_in_depth_where_there_are_none(between, remedy):
    hidden = []
    for _ in range(50):
        hidden += [layers.Dense(20, kernel_initializer=keras_initx.Orthogonal()), *[make() for make in between]]
        hidden.append(layers.Activation("softplus" if between else "tanh"))
    model = keras.Sequential(
        [keras.Input((20,)), *hidden, layers.Dense(3, kernel_initializer=keras_initx.Orthogonal())]
    )
    text = asked(lambda of: remedy_in_depth(_layers.layers(of), of).text, model, ROWS)
    assert text == remedy


@pytest.mark.parametrize(
    ("factor", "evidence"),
    [
        (1e5, r"the standard deviation is .* in hidden and .* in out \(2 layers\), already .* at the inputs"),
        (1, r"the standard deviation grows from .* at the inputs to .* in hidden and .* in out \(2 layers\)"),
    ],
)
def test_what_does_not_grow_is_a_level(factor, evidence):
    kernel = keras.initializers.RandomNormal(stddev=1e4 if factor == 1 else 0.1)
    hidden = layers.Dense(20, kernel_initializer=kernel, name="hidden")
    model = keras.Sequential([keras.Input((20,)), hidden, layers.Dense(3, name="out")])
    verdict = keras_initx.diagnose(model, factor * ROWS).problems[-1]
    assert verdict.problem == "exploding"
    assert re.fullmatch(evidence, verdict.evidence)


def test_inputs_that_are_not_finite_are_the_cause_before_large_ones():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    outputs = [layers.Dense(2)(one) for one in inputs]
    x = [np.full((8, 4), 0.1), 1e6 * np.random.default_rng(0).normal(size=(8, 4))]
    x[0][0, 0] = np.nan
    cause = asked(lambda of: largest_inputs(of, lambda signal: signal.std), keras.Model(inputs, outputs), x)
    assert cause.nonfinite == 1 / 32
