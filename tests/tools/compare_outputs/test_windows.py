"""Two layers have the same windows if and only if they compute the same."""

import itertools

import numpy as np
import pytest
from keras import layers
from modes import BACKEND, to_numpy

from keras_initx.tools.compare_outputs._components import read_components
from keras_initx.tools.compare_outputs._windows import compare_cuts, compare_windows

if BACKEND == "torch":
    import torch
    from torch import nn

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="modules of torch")
DRAWS = np.random.default_rng(0)


def settings_of(operation):
    return read_components(operation)[0].settings


def computed(layer, module, x):
    """Return the outputs of a layer and of a module for the same steps."""
    there = module(torch.as_tensor(x).transpose(1, 2)).transpose(1, 2)
    return to_numpy(layer(x)), there.detach().numpy()


def are_same(here, there):
    return here.shape == there.shape and np.allclose(here, there, atol=1e-5)


@pytest.mark.parametrize("length", [7, 8, 9])
def test_windows_of_a_pooling_are_those_that_it_computes_with(length):
    x = DRAWS.normal(size=(2, length, 3)).astype("float32")
    seen = set()
    for size, stride, padding in itertools.product((2, 3), (1, 2, 3), ("valid", "same")):
        layer = layers.MaxPooling1D(size, stride, padding=padding)
        for pads, has_ceiling in itertools.product((0, 1), (False, True)):
            module = nn.MaxPool1d(size, stride, pads, ceil_mode=has_ceiling)
            found = compare_windows(
                settings_of(layer), settings_of(module), x.shape, (2, 3, length), has_fixed_sizes=True
            )
            assert (found == []) == are_same(*computed(layer, module, x)), (layer.get_config(), module, found)
            seen.add(found == [])
    assert seen == {True, False}


def test_cuts_of_a_transposed_convolution_are_those_that_it_computes_with():
    x = DRAWS.normal(size=(2, 5, 3)).astype("float32")
    seen = set()
    for size, stride, padding in itertools.product((2, 3, 4, 5), (1, 2, 3), ("valid", "same")):
        layer = layers.Conv1DTranspose(4, size, stride, padding=padding)
        layer.build(x.shape)
        for pads, added in itertools.product((0, 1, 2), (0, 1)):
            if added >= stride or pads >= size:
                continue  # which torch refuses
            module = nn.ConvTranspose1d(3, 4, size, stride, pads, added)
            kernel = to_numpy(layer.kernel).transpose(2, 1, 0)
            module.load_state_dict({"weight": torch.as_tensor(kernel.copy()), "bias": torch.zeros(4)})
            found = compare_cuts(settings_of(layer), settings_of(module))
            assert (found == []) == are_same(*computed(layer, module, x)), (layer.get_config(), module, found)
            seen.add(found == [])
    assert seen == {True, False}


def test_sizes_that_are_open_are_grown_by_less_than_a_stride():
    layer, module = layers.MaxPooling2D(2), nn.MaxPool2d(2, ceil_mode=True)
    arguments = settings_of(layer), settings_of(module), (1, 8, 8, 3), (1, 3, 8, 8)
    assert compare_windows(*arguments, has_fixed_sizes=True) == []
    text = "ceil_mode: False here, True there, for inputs of 9 x 9: 4 x 4 windows here, 5 x 5 there"
    assert compare_windows(*arguments, has_fixed_sizes=False) == [text]


def test_inputs_of_two_sizes_have_been_padded_before():
    layer, module = layers.Conv2D(4, 3), nn.Conv2d(3, 4, 3, padding=1)
    found = compare_windows(settings_of(layer), settings_of(module), (1, 10, 10, 3), (1, 3, 8, 8), has_fixed_sizes=True)
    assert found == []
