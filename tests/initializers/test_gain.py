import typing

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from modes import to_numpy

from keras_initx._typing import Activation
from keras_initx.initializers._scale import _GAINS, gain_value

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "silu", "swish"])
def test_the_gain_keeps_the_second_moment(name):
    z = np.linspace(-12, 12, 200_001)
    activated = to_numpy(keras.activations.get(name)(z.astype("float32"))).astype("float64")
    moment = scipy.integrate.simpson(activated**2 * scipy.stats.norm.pdf(z), x=z)
    assert gain_value(name) == pytest.approx(1 / np.sqrt(moment), rel=1e-5)


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_is_the_gain_of_torch(name):
    torch = pytest.importorskip("torch")

    slope = 0.2 if name == "leaky_relu" else None
    assert gain_value(name) == torch.nn.init.calculate_gain(name, slope)


@pytest.mark.parametrize(
    ("name", "gain"), [("elu", 1.245198), ("gelu", 1.53353), ("silu", 1.676532), ("swish", 1.676532)]
)
def test_the_gain_is_frozen(name, gain):
    assert gain_value(name) == gain


@pytest.mark.parametrize("name", _GAINS)
def test_every_name_is_an_activation_of_keras(name):
    assert callable(keras.activations.get(name))


def test_the_type_names_every_activation():
    assert typing.get_args(Activation) == tuple(_GAINS)
