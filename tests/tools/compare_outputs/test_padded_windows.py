"""A layer that pads before a convolution or a pooling is compared as the padding of both together."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import compare_outputs, load_pretrained, record_outputs

torch = pytest.importorskip("torch")
nn = torch.nn

IMAGES = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype("float32")


def convolve(**options):
    return layers.Conv2D(4, 3, strides=2, name="c"), nn.Conv2d(3, 4, 3, stride=2, padding=1, **options)


def average(**options):
    return layers.AveragePooling2D(3, 2, name="c"), nn.AvgPool2d(3, 2, 1, **options)


def pad(mode):
    return lambda x: ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)


@pytest.mark.parametrize(
    ("padding", "make", "options", "expected"),
    [
        (layers.ZeroPadding2D(1), convolve, {}, []),
        (
            layers.ZeroPadding2D(((0, 2), (0, 2))),
            convolve,
            {},
            ["padding: 0 before and 2 after here, 1 before and 1 after there (c)"],
        ),
        (pad("reflect"), convolve, {"padding_mode": "reflect"}, []),
        (
            pad("constant"),
            convolve,
            {"padding_mode": "reflect"},
            ["padding_mode: zeros here, reflect there (c)"],
        ),
        (layers.ZeroPadding2D(1), average, {}, []),
        (
            layers.ZeroPadding2D(1),
            average,
            {"count_include_pad": False},
            ["count_include_pad: True here, False there (c)"],
        ),
    ],
    ids=["zeros", "zeros at one end", "reflected", "zeros for reflected", "counted", "not counted there"],
)
def test_padding_by_a_layer_before_is_compared(padding, make, options, expected):
    layer, other = make(**options)
    inputs = keras.Input((9, 9, 3))
    model = keras.Model(inputs, layer(padding(inputs)), name="net")
    module = nn.Sequential()
    module.add_module("c", other)
    if layer.weights:
        load_pretrained(model, module.state_dict(), layout="torch")
    report = compare_outputs(model, IMAGES, record_outputs(module, np.moveaxis(IMAGES, -1, 1)))
    assert report.reasons == expected
    assert report.ok == (not expected)
