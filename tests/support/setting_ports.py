"""A layer between two dense layers, a module of torch in the same place, and what a report says of their settings."""

import keras
import numpy as np
from keras import layers
from modes import BACKEND

import keras_initx
from keras_initx import compare_outputs, record_outputs

if BACKEND == "torch":
    import torch
    from torch import nn

DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.normal(size=(4, 8, 8, 4)).astype("float32")
ODD_IMAGES = DRAWS.normal(size=(4, 9, 9, 4)).astype("float32")
STEPS = DRAWS.normal(size=(4, 6, 8)).astype("float32")
WORDS = DRAWS.integers(1, 20, (4, 6))


class Function(nn.Module if BACKEND == "torch" else object):
    """Calls a function of torch in its code."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, training=self.training)


class First(nn.Module if BACKEND == "torch" else object):
    """Returns the outputs of a recurrent module, or of attention of its input to itself, without states."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x, x, x)[0] if isinstance(self.inner, nn.MultiheadAttention) else self.inner(x)[0]


def attend(**options):
    """Return attention of a tensor to itself."""
    layer = layers.MultiHeadAttention(2, 4, name="between", **options)
    return lambda x: layer(x, x)


def make_dense(name, units, is_image):
    if is_image:
        return layers.Conv2D(units, 1, name=name)
    return layers.Dense(units, name=name)


def make_linear(inputs, units, is_image):
    return nn.Conv2d(inputs, units, 1) if is_image else nn.Linear(inputs, units)


def port(here, there, x, *, has_fixed_sizes=True, is_loaded=True):
    """Return a model with layers between two dense layers, a module, and the names of both.

    Args:
        here: The layer, or a list of layers. One with the name `between` is named as the module.
        there: The module.
        x: The inputs.
        has_fixed_sizes: Whether the model gets inputs of one size.
        is_loaded: Whether the model gets the weights of the module.
    """
    is_image, has_words = x.ndim == 4, x.dtype.kind == "i"
    width = x.shape[-1]
    shape = x.shape[1:] if has_fixed_sizes else (*[None] * (x.ndim - 2), width)
    value = inputs = keras.Input(shape, dtype="int32" if has_words else "float32")
    module = nn.Sequential()
    if not has_words:
        value = make_dense("first", width, is_image)(value)
        module.add_module("first", make_linear(width, width, is_image))
    for layer in here if isinstance(here, list) else [here]:
        value = layer(value)
    module.add_module("between", there)
    head = make_dense("head", 3, is_image)
    model = keras.Model(inputs, head(value), name="net")
    module.add_module("head", make_linear(value.shape[-1], 3, is_image))
    paths = [layer.name for layer in model.layers]
    names = {name: name for name in ("first", "between", "head") if name in paths}
    if isinstance(there, First) and "between" in names:
        names["between"] = "between.inner"
    if is_loaded:
        of_weights = {name: value for name, value in names.items() if model.get_layer(name).weights}
        keras_initx.load_pretrained(model, module.eval().state_dict(), of_weights, layout="torch")
    return model, module, names


def report_on(here, there, x, **options):
    """Return the report on a port, see `port`."""
    model, module, names = port(here, there, x, **options)
    inputs = torch.as_tensor(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)
    return compare_outputs(model, x, record_outputs(module, inputs), names=names)


def said(report):
    """Return the settings that a report names, and the reasons of the first difference."""
    return [*(difference.text for difference in report.settings), *report.reasons]


def assert_named(report, text, scope):
    assert any(line.startswith(text) for line in said(report)), f"{said(report)}\n{report}"
    scopes = {difference.scope for difference in report.settings if difference.text.startswith(text)}
    assert scopes <= {scope}
    if scope == "any":
        assert not report.ok
    elif scope in ("training", "every batch"):
        assert report.ok, str(report)
    assert text.split(":")[0] in " ".join(str(report).split())


def assert_silent(report):
    assert report.ok, str(report)
    assert said(report) == []
    assert report.settings_not_compared == []
