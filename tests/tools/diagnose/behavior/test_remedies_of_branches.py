"""Residual branches that start small where their sum grows."""

import keras
import numpy as np
import pytest
import strangers
from keras import layers

import keras_initx
from keras_initx.inspection._architecture import find_hidden_branch_ends
from keras_initx.inspection._inventory import Inventory

ROWS = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")


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


@pytest.mark.rare
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
        "change nothing if this is intended: training opens the branches"
    ]


@pytest.mark.rare
def test_zeros_before_an_operation_of_a_users_layer_are_not_advised():
    assert len(find_hidden_branch_ends(Inventory(of_blocks()))) == 16
    assert not find_hidden_branch_ends(Inventory(of_blocks(after=keras.ops.relu)))


def test_attention_in_a_users_layer_ends_a_branch_with_its_outputs():
    model = strangers.gpt()
    ends = {layer.name for layer in find_hidden_branch_ends(Inventory(model))}
    assert ends == {"attention_output", model.blocks[0].down.name, model.blocks[1].down.name}
