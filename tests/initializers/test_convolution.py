import math

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

from keras_initx import DeltaOrthogonal, Dirac

layers = keras.layers
CONVOLUTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}

every_class = pytest.mark.parametrize("cls", [DeltaOrthogonal, Dirac])


def signal(rank, channels):
    return np.random.default_rng(0).normal(size=(2, *(6, 5, 4)[:rank], channels)).astype("float32")


def convolve(initializer, x, units, window, groups=1):
    convolution = CONVOLUTIONS[x.ndim - 2]
    return to_numpy(convolution(units, window, padding="same", groups=groups, kernel_initializer=initializer)(x))


def norms(x):
    return np.linalg.norm(x, axis=-1)


# With an even window "same" pads one more behind than in front.
@pytest.mark.parametrize(("rank", "window", "units"), [(1, 1, 4), (1, 4, 7), (2, 2, 7), (2, 5, 4), (3, 3, 7)])
def test_delta_orthogonal_keeps_the_norm_of_each_pixel(rank, window, units):
    x = signal(rank, 4)
    np.testing.assert_allclose(norms(convolve(DeltaOrthogonal(seed=0), x, units, window)), norms(x), rtol=1e-5)


@pytest.mark.parametrize(("rank", "groups"), [(1, 3), (2, 2), (3, 2)])
def test_delta_orthogonal_keeps_the_norm_in_each_group(rank, groups):
    x = signal(rank, 2 * groups)
    y = convolve(DeltaOrthogonal(groups=groups, seed=0), x, 5 * groups, 3, groups)
    for before, after in zip(np.split(x, groups, axis=-1), np.split(y, groups, axis=-1), strict=True):
        np.testing.assert_allclose(norms(after), norms(before), rtol=1e-5)


@pytest.mark.parametrize(("gain", "value"), [(2, 2), ("relu", math.sqrt(2))])
@every_class
def test_gain_is_a_factor(cls, gain, value):
    seed = {} if cls is Dirac else {"seed": 0}
    with_gain, without = to_numpy(cls(gain, **seed)((3, 3, 4, 6))), to_numpy(cls(**seed)((3, 3, 4, 6)))
    np.testing.assert_allclose(with_gain, value * without, rtol=1e-6)


def test_the_units_of_each_group_have_a_matrix_of_their_own():
    first, second = np.split(to_numpy(DeltaOrthogonal(groups=2, seed=0)((3, 4, 8)))[1], 2, axis=-1)
    assert not np.allclose(first, second, atol=0.1)


@pytest.mark.parametrize(("shape", "groups"), [((3, 3, 8, 4), 1), ((3, 4, 6), 2), ((1, 1, 0), 1)])
def test_delta_orthogonal_refuses_fewer_units_than_inputs(shape, groups):
    with pytest.raises(ValueError, match=rf"`shape` must have at least as many units as .*, groups={groups}$"):
        DeltaOrthogonal(groups=groups)(shape)


@pytest.mark.parametrize(("rank", "window", "groups"), [(1, 1, 1), (1, 4, 2), (2, 5, 2), (3, 3, 2)])
def test_a_convolution_with_dirac_is_the_identity(rank, window, groups):
    x = signal(rank, 4)
    np.testing.assert_array_equal(convolve(Dirac(groups=groups), x, 4, window, groups), x)


def test_dirac_gives_further_units_nothing():
    x = signal(2, 4)
    y = convolve(Dirac(), x, 6, 3)
    np.testing.assert_array_equal(y[..., :4], x)
    assert not y[..., 4:].any()


def test_dirac_drops_inputs_beyond_the_units():
    x = signal(2, 4)
    np.testing.assert_array_equal(convolve(Dirac(), x, 3, 3), x[..., :3])


def test_dirac_counts_units_and_inputs_in_each_group():
    x = signal(1, 4)
    y = convolve(Dirac(groups=2), x, 6, 3, groups=2)
    np.testing.assert_array_equal(y[..., [0, 1, 3, 4]], x)
    assert not y[..., [2, 5]].any()


@pytest.mark.skipif(BACKEND != "torch", reason="torch's function is the reference")
@pytest.mark.parametrize(("shape", "groups"), [((3, 4, 6), 1), ((5, 3, 6, 4), 2), ((1, 3, 3, 2, 12), 2)], ids=str)
def test_dirac_is_what_torch_gives(shape, groups):
    import torch

    *window, inputs, units = shape
    theirs = torch.nn.init.dirac_(torch.empty(units, inputs, *window), groups)
    theirs = np.moveaxis(theirs.numpy(), (0, 1), (-1, -2))
    np.testing.assert_array_equal(to_numpy(Dirac(groups=groups)(shape)), theirs)


@every_class
@pytest.mark.parametrize("shape", [(3, 3), (1, 1, 1, 1, 2, 2)], ids=str)
def test_refuses_what_is_no_convolution(cls, shape):
    with pytest.raises(ValueError, match=r"`shape` must have 3 to 5 dimensions, .* Received: shape="):
        cls()(shape)


@every_class
def test_refuses_units_that_cannot_be_cut_into_groups(cls):
    with pytest.raises(ValueError, match=r"multiple of `groups`\. Received: shape=\(3, 2, 5\), groups=2"):
        cls(groups=2)((3, 2, 5))
