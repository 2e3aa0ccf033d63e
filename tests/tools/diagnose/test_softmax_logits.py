"""Routing logits of a capsule network start at 0; a matrix of zeros that multiplies is another thing."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx

X = np.random.default_rng(0).normal(size=(32, 12, 4)).astype("float32")
Y = np.eye(3, dtype="float32")[np.arange(32) % 3]


def squash(vectors):
    squares = ops.sum(ops.square(vectors), -1, keepdims=True)
    return squares / (1 + squares) * vectors / ops.sqrt(squares + 1e-9)


class Capsules(layers.Layer):
    """Capsules whose logits, to begin with, are trained."""

    def __init__(self, units, size, axis=1, deviation=0.5):
        super().__init__(name=f"capsules_{axis}_{units}_{deviation}".replace(".", "_"))
        self.units, self.size, self.axis, self.deviation = units, size, axis, deviation

    def build(self, shape):
        kernel = keras.initializers.RandomNormal(stddev=self.deviation, seed=1)
        self.w = self.add_weight((self.units, *shape[1:], self.size), kernel, name="w")
        self.b = self.add_weight((self.units, shape[1]), "zeros", name="b")

    def call(self, x):
        votes = ops.einsum("bij,nijd->bnid", x, self.w)
        shares = self.b[None] if self.axis is None else ops.softmax(self.b, axis=self.axis - 1)[None]
        return squash(ops.einsum("bni,bnid->bnd", shares * ops.ones_like(votes[..., 0]), votes))


def network(axis=1, deviation=0.5):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 4))
    x = layers.Lambda(squash)(
        layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(stddev=deviation))(inputs)
    )
    x = Capsules(3, 8, axis, deviation)(x)
    return keras.Model(inputs, layers.Lambda(lambda v: ops.sqrt(ops.sum(ops.square(v), -1) + 1e-12))(x))


def problems(model):
    return {verdict.problem: verdict for verdict in keras_initx.diagnose(model, X, Y, loss="mse").verdicts}


@pytest.mark.release_backends
@pytest.mark.parametrize("axis", [1, 2])
def test_logits_of_a_softmax_are_no_equal_units(axis):
    assert "equal units" not in problems(network(axis))


def test_zeros_that_multiply_are():
    assert "equal units" in problems(network(axis=None))


def test_a_branch_that_vanishes_is_not_multiplied_by_0():
    found = problems(network(deviation=1e-7))
    assert "vanishing" in found
    assert "no gradient" not in found
