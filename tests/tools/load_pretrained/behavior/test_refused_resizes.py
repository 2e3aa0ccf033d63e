"""A kind of `resize` that does not fit its weight is refused with what fits, and what is not to be resized is left."""

import re

import keras
import pytest
from loaded import normal
from modes import often
from resizable import Positions, drawn, resnet
from stacks import arrays, built

from keras_initx import load_pretrained
from keras_initx.types import Channels, Grid, Rows, Units

layers = keras.layers


@pytest.mark.parametrize(
    ("resize", "error", "message"),
    [
        (
            ["head"],
            TypeError,
            "`resize` must be a dict from patterns to kinds, such as 'channels'. Received: resize=['head']",
        ),
        ("rows", TypeError, "`resize` must be a dict from patterns to kinds"),
        ({layers.Dense: "units"}, TypeError, "`resize` must have path patterns as keys. Received: <class"),
        ({"head": 3}, TypeError, "The values of `resize` must be 'channels', 'rows', 'units', or a"),
        ({"head": Units}, TypeError, "Received: <class 'keras_initx.files._resizing.Units'> for 'head'"),
        ({"head": None}, TypeError, "The values of `resize` must be"),
        ({"head": (3, 5)}, TypeError, "The values of `resize` must be"),
        (
            {"head": "unit"},
            ValueError,
            "`resize` must be one of ('channels', 'rows', 'units'). Received: resize='unit'; did you mean 'units'?",
        ),
        ({"head": "grid"}, ValueError, "`resize` must be one of ('channels', 'rows', 'units')"),
        (
            {"haed": "units"},
            ValueError,
            "Each of `resize` must match a weight or a layer. Received: 'haed', which matches none; close matches are",
        ),
        ({"head": "units", "steem/*": "channels"}, ValueError, "Received: 'steem/*', which matches none"),
    ],
)
def test_other_values_of_resize_are_refused(resize, error, message):
    model = drawn(resnet(3))
    before = arrays(model)
    for options in ({}, {"dry_run": True}):
        with pytest.raises(error, match=re.escape(message)):
            load_pretrained(model, resnet(3), resize=resize, **options)
    assert all((value == before[path]).all() for path, value in arrays(model).items())


def separable(**options):
    return layers.SeparableConv2D(4, 3, use_bias=False, name="layer", **options)


NO_CHANNELS = "cannot get other channels: `resize` changes these only in kernels of convolutions without groups"
NO_UNITS = "cannot get other units: `resize` changes these only in kernels and biases of dense layers"
NO_ROWS = "cannot get other rows: `resize` changes these only in tables of words and of positions"


# A shape of inputs, a layer, a weight, the shape of an array, a kind, and the end of the error.
class Keeps(layers.Layer):
    """A layer with a number for each input that is not trained."""

    def build(self, shape):
        self.kept = self.add_weight((shape[-1],), initializer="zeros", trainable=False, name="kept")

    def call(self, x):
        return x + self.kept


MISFITS = {
    "a grouped convolution": (
        (6, 6, 4),
        lambda: layers.Conv2D(4, 3, groups=2, name="layer"),
        ("kernel", (3, 3, 1, 4), "channels"),
        f"the kernel of a Conv2D with 2 groups {NO_CHANNELS}",
    ),
    "units of a grouped convolution": (
        (6, 6, 4),
        lambda: layers.Conv2D(4, 3, groups=2, name="layer"),
        ("kernel", (3, 3, 2, 2), "units"),
        f"the kernel of a Conv2D with 2 groups {NO_UNITS}",
    ),
    "a depthwise convolution": (
        (6, 6, 4),
        lambda: layers.DepthwiseConv2D(3, name="layer"),
        ("kernel", (3, 3, 3, 1), "channels"),
        f"the kernel of a DepthwiseConv2D {NO_CHANNELS}",
    ),
    "units of a depthwise convolution": (
        (6, 6, 4),
        lambda: layers.DepthwiseConv2D(3, name="layer"),
        ("kernel", (3, 3, 4, 2), "units"),
        f"the kernel of a DepthwiseConv2D {NO_UNITS}",
    ),
    "a separable convolution": (
        (6, 6, 4),
        separable,
        ("depthwise_kernel", (3, 3, 3, 1), "channels"),
        f"the depthwise_kernel of a SeparableConv2D {NO_CHANNELS}",
    ),
    "points of a separable convolution": (
        (6, 6, 4),
        separable,
        ("pointwise_kernel", (1, 1, 3, 4), "channels"),
        f"the pointwise_kernel of a SeparableConv2D {NO_CHANNELS}",
    ),
    "a dense layer": (
        (12,),
        lambda: layers.Dense(4, name="layer"),
        ("kernel", (9, 4), "channels"),
        f"{NO_CHANNELS}, and statistics by channel; for patches that are flattened pass `Channels(old, new)`",
    ),
    "a dense layer of other patches": (
        (12,),
        lambda: layers.Dense(4, name="layer"),
        ("kernel", (9, 4), Channels(4, 5)),
        "9 and 12 inputs are not patches of 4 and 5 channels",
    ),
    "an einsum layer": (
        (5, 12),
        lambda: layers.EinsumDense("abc,cd->abd", (5, 4), name="layer"),
        ("kernel", (9, 4), "channels"),
        f"the kernel of a EinsumDense {NO_CHANNELS}",
    ),
    "an einsum layer of two axes": (
        (5, 2, 5),
        lambda: layers.EinsumDense("abcd,cde->abe", (5, 4), name="layer"),
        ("kernel", (2, 3, 4), Channels(3, 5)),
        f"the kernel of a EinsumDense {NO_CHANNELS}",
    ),
    "units of two axes": (
        (5, 4),
        lambda: layers.EinsumDense("abc,cde->abde", (5, 2, 3), name="layer"),
        ("kernel", (4, 2, 2), "units"),
        f"the kernel of a EinsumDense {NO_UNITS}",
    ),
    "rows of a dense layer": (
        (12,),
        lambda: layers.Dense(4, name="layer"),
        ("kernel", (9, 4), "rows"),
        f"the kernel of a Dense {NO_ROWS}",
    ),
    "rows of a bias": (
        (12,),
        lambda: layers.Dense(4, name="layer"),
        ("bias", (3,), "rows"),
        f"the bias of a Dense {NO_ROWS}",
    ),
    "channels of a bias": (
        (6, 6, 4),
        lambda: layers.Conv2D(4, 3, name="layer"),
        ("bias", (3,), "channels"),
        f"the bias of a Conv2D {NO_CHANNELS}",
    ),
    "rows of a convolution": (
        (6, 6, 4),
        lambda: layers.Conv2D(4, 3, name="layer"),
        ("kernel", (3, 3, 3, 4), "rows"),
        f"the kernel of a Conv2D {NO_ROWS}",
    ),
    "units of an embedding": (
        (5,),
        lambda: layers.Embedding(7, 4, name="layer"),
        ("embeddings", (7, 3), "units"),
        f"the embeddings of a Embedding {NO_UNITS}",
    ),
    "channels of an embedding": (
        (5,),
        lambda: layers.Embedding(7, 4, name="layer"),
        ("embeddings", (5, 4), "channels"),
        f"the embeddings of a Embedding {NO_CHANNELS}",
    ),
    "a grid of an embedding of words": (
        (5,),
        lambda: layers.Embedding(7, 4, name="layer"),
        ("embeddings", (5, 4), Grid((2, 2), (3, 2), leading=1)),
        None,
    ),
    "units of a normalization": (
        (4,),
        lambda: layers.LayerNormalization(name="layer"),
        ("gamma", (3,), "units"),
        f"the gamma of a LayerNormalization {NO_UNITS}",
    ),
    "channels of a layer normalization": (
        (4,),
        lambda: layers.LayerNormalization(name="layer"),
        ("gamma", (3,), "channels"),
        f"the gamma of a LayerNormalization {NO_CHANNELS}",
    ),
    "units of statistics": (
        (4,),
        lambda: layers.Normalization(name="layer"),
        ("mean", (3,), "units"),
        f"the mean of a Normalization {NO_UNITS}",
    ),
    "statistics of two axes": (
        (5, 4),
        lambda: layers.Normalization(axis=(1, 2), name="layer"),
        ("mean", (5, 3), "channels"),
        f"the mean of a Normalization {NO_CHANNELS}",
    ),
    "a recurrent layer": (
        (5, 4),
        lambda: layers.LSTM(3, name="layer"),
        ("lstm_cell/kernel", (3, 12), "rows"),
        f"the kernel of a LSTMCell {NO_ROWS}",
    ),
    "units of a recurrent layer": (
        (5, 4),
        lambda: layers.LSTM(3, name="layer"),
        ("lstm_cell/kernel", (4, 8), "units"),
        f"the kernel of a LSTMCell {NO_UNITS}",
    ),
    "channels of a layer that is not known": (
        (4, 4),
        lambda: Positions(4, axes=3, name="layer"),
        ("table", (1, 3, 4), "channels"),
        f"the table of a Positions {NO_CHANNELS}",
    ),
    "rows of several tables": (
        (4, 4),
        lambda: Positions(4, axes=3, name="layer"),
        ("table", (2, 3, 4), "rows"),
        "the shapes differ in more than the number of rows",
    ),
    "two axes of a convolution": (
        (6, 6, 4),
        lambda: layers.Conv2D(4, 3, name="layer"),
        ("kernel", (5, 5, 3, 4), "channels"),
        "the shapes differ in more than the number of channels",
    ),
    "two axes of as many values": (
        (6, 6, 4),
        lambda: layers.Conv2D(4, 3, name="layer"),
        ("kernel", (3, 3, 3, 8), "channels"),
        "the shapes differ in more than the number of channels",
    ),
    "two axes of an embedding": (
        (5,),
        lambda: layers.Embedding(7, 4, name="layer"),
        ("embeddings", (5, 3), "rows"),
        "the shapes differ in more than the number of rows",
    ),
    "no axes": (
        (5,),
        lambda: layers.Embedding(7, 4, name="layer"),
        ("embeddings", (), "rows"),
        "the shapes differ in more than the number of rows",
    ),
    "no words": (
        (5,),
        lambda: layers.Embedding(7, 4, name="layer"),
        ("embeddings", (0, 4), "rows"),
        "the shapes differ in more than the number of rows",
    ),
    "the other layout": (
        (5,),
        lambda: layers.Dense(4, name="layer"),
        ("kernel", (3, 5), "units"),
        "the shapes differ in more than the number of units",
    ),
    "a word that is not there": (
        (5,),
        lambda: layers.Embedding(2, 4, name="layer"),
        ("embeddings", (5, 4), Rows([3, 5])),
        "the array has 5 rows, and no index 5",
    ),
    "more words than the model has": (
        (5,),
        lambda: layers.Embedding(2, 4, name="layer"),
        ("embeddings", (5, 4), Rows([3, 1, 0])),
        "3 rows are chosen, and the model has 2",
    ),
    "other positions than those of the grid": (
        (4, 4),
        lambda: Positions(4, name="layer"),
        ("table", (9, 4), Grid((3, 3), (2, 2), leading=1)),
        "9 rows are not the positions of 3 x 3 patches with leading=1",
    ),
    "what a layer keeps beside what is trained": (
        (4,),
        lambda: Keeps(name="layer"),
        ("kept", (3,), "units"),
        f"the kept of a Keeps {NO_UNITS}",
    ),
    "chosen units of a layer that has none": (
        (4,),
        lambda: layers.LayerNormalization(name="layer"),
        ("gamma", (4,), Units([3, 2, 1, 0])),
        f"the array already has the shape of the weight; the gamma of a LayerNormalization {NO_UNITS}",
    ),
}


@pytest.mark.parametrize("name", often(MISFITS, [*MISFITS][::3]))
def test_a_kind_for_another_weight_is_refused(name):
    inputs, layer, (weight, shape, kind), message = MISFITS[name]
    model = built(inputs, layer())
    before = arrays(model)
    path = f"layer/{weight}"
    arguments = {
        "source": {"array": normal(*shape)},
        "names": {path: "array"},
        "layout": "keras",
        "resize": {path: kind},
    }
    if message is None:
        assert not load_pretrained(model, **arguments, dry_run=True).problems
        return
    with pytest.raises(ValueError, match=re.escape(message)):
        load_pretrained(model, **arguments)
    (problem,) = load_pretrained(model, **arguments, dry_run=True).problems
    assert message in problem.text
    assert all((value == before[path]).all() for path, value in arrays(model).items())


@pytest.mark.rare
@pytest.mark.parametrize("mode", ["int8", "lora"])
def test_weights_of_quantized_layers_and_of_adapters_are_not_resized(mode):
    model, old = (drawn(built((4,), layers.Dense(units, name="head"))) for units in (3, 2))
    for one in (model, old):
        if mode == "lora":
            one.layers[0].enable_lora(2)
        else:
            one.layers[0].quantize("int8")
    if mode == "lora":
        message = f"the lora_kernel_b of a Dense {NO_UNITS}"
    else:
        message = f"the kernel of a Dense that is quantized {NO_UNITS}"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_pretrained(model, old, resize={"head": "units"})
