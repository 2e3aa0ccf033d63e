"""The gain of each activation keeps the second moment, and is frozen."""

import pathlib
import re
import typing

import keras
import numpy as np
import pytest
import scipy
from cases import for_each
from modes import to_numpy

from keras_initx._typing import Activation
from keras_initx.initializers._activations import ACTIVATIONS
from keras_initx.initializers._scale import gain_value

GAINS = {name: facts.gain for name, facts in ACTIVATIONS.items() if facts.gain is not None}

OF_TORCH = ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "initializers.md"
ROW = re.compile(r"^\| ([a-z]\w+(?:, \w+)*) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


def second_moment(name, scale=1.0):
    """Return E f(scale * z)^2 for z ~ N(0, 1)."""
    z = np.linspace(-12, 12, 200_001)
    activated = to_numpy(keras.activations.get(name)((scale * z).astype("float32"))).astype("float64")
    return scipy.integrate.simpson(activated**2 * scipy.stats.norm.pdf(z), x=z)


@for_each(["relu", "leaky_relu", *(name for name in GAINS if name not in OF_TORCH)])
def test_the_gain_keeps_the_second_moment(name):
    assert gain_value(name) == pytest.approx(1 / np.sqrt(second_moment(name)), rel=1e-5)


@for_each(OF_TORCH)
def test_is_the_gain_of_torch(name):
    torch = pytest.importorskip("torch")

    slope = 0.2 if name == "leaky_relu" else None
    assert gain_value(name) == torch.nn.init.calculate_gain(name, slope)


def test_the_gain_is_frozen():
    frozen = {"elu": 1.245198, "gelu": 1.53353, "silu": 1.676532, "swish": 1.676532}
    assert {name: gain_value(name) for name in frozen} == frozen


def test_the_page_has_each_gain_and_how_a_deviation_goes_on():
    rows = {name: map(float, cells) for names, *cells in ROW.findall(PAGE.read_text()) for name in names.split(", ")}
    assert rows.keys() == GAINS.keys()
    for name, (gain, deviation) in rows.items():
        assert gain_value(name) == pytest.approx(gain, abs=6e-5), name
        # The derivative of the logarithm of E f(s z)^2 by that of s^2.
        ratio = second_moment(name, 1.001) / second_moment(name, 0.999)
        assert np.log(ratio) / (2 * np.log(1.001 / 0.999)) == pytest.approx(deviation, abs=6e-3), name


def test_the_type_names_every_activation():
    assert typing.get_args(Activation) == tuple(GAINS)
