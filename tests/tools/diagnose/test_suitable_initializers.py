"""Which initializers suit the kernels of layers."""

import pytest

from keras_initx.tools.diagnose._suitable_initializers import choose_initializers


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
    found = choose_initializers([], activation, is_deep=True)
    assert [text for _, text in found] == [f"keras_initx.{expression}" for expression in expected]
