"""What a model computes otherwise than its counterpart in torch is told."""

import keras
import numpy as np
import pytest
from modes import BACKEND

from keras_initx import load_pretrained

if BACKEND == "torch":
    import torch

layers = keras.layers


def test_another_epsilon_than_that_of_torch_is_to_be_checked():
    norms = [layers.LayerNormalization(name="a"), layers.BatchNormalization(epsilon=1e-5, name="b")]
    model = keras.Sequential([keras.Input((4,)), *norms])
    state = {f"{name}.{one}": torch.rand(4) for name in "ab" for one in ("weight", "bias")}
    plan = load_pretrained(model, state, layout="torch")
    assert [row.detail for row in plan.rows[:4]] == ["check epsilon: 0.001, in torch 1e-05 by default", "", "", ""]


PADDING = "check padding: with strides torch pads both sides equally"


@pytest.mark.parametrize(
    ("length", "layer", "is_noted"),
    [
        (8, layers.Conv2D(2, 3, strides=2, padding="same", name="c"), True),
        (7, layers.Conv2D(2, 3, strides=2, padding="same", name="c"), False),  # one on each side
        (8, layers.Conv2D(2, 2, strides=2, padding="same", name="c"), False),  # none
        (8, layers.Conv2D(2, 3, strides=2, name="c"), False),
        (8, layers.Conv2D(2, 3, padding="same", name="c"), False),
        (None, layers.Conv2D(2, 3, strides=2, padding="same", name="c"), True),
        (8, layers.DepthwiseConv2D(3, strides=2, padding="same", name="c"), True),
        (8, layers.Conv2DTranspose(2, 3, strides=2, padding="same", name="c"), True),
    ],
)
def test_padding_that_may_be_uneven_is_to_be_checked(length, layer, is_noted):
    model = keras.Sequential([keras.Input((length, length, 3)), layer])
    in_torch = {"DepthwiseConv2D": (3, 1, 3, 3), "Conv2DTranspose": (3, 2, 3, 3)}
    shape = in_torch.get(type(layer).__name__, (2, 3, *layer.kernel_size))
    plan = load_pretrained(model, {"c.weight": np.ones(shape)}, {"c/kernel": "c.weight"}, layout="torch")
    (how,) = [row.detail for row in plan.rows if row.sources]
    assert how.endswith(PADDING) == is_noted
