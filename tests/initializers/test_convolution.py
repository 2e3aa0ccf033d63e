import math

import keras
import numpy as np
import pytest
from cases import label
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx import ICNR, Bilinear, DeltaOrthogonal, Dirac

layers = keras.layers
CONVOLUTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
TRANSPOSED = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}

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


def depth_to_space(x, scale):
    """Lay the channels out as blocks of pixels, in the order of `tf.nn.depth_to_space`."""
    batch, *sides, depth = x.shape
    rank = len(sides)
    x = np.reshape(x, (batch, *sides, *[scale] * rank, depth // scale**rank))
    # Each axis of the image is followed by that of the block.
    x = np.transpose(x, (0, *np.arange(2 * rank).reshape(2, rank).T.ravel() + 1, 2 * rank + 1))
    return np.reshape(x, (batch, *[side * scale for side in sides], -1))


def enlarge(x, scale):
    """Repeat each pixel."""
    for axis in range(1, x.ndim - 1):
        x = np.repeat(x, scale, axis)
    return x


@pytest.mark.parametrize(("rank", "scale"), [(1, 3), (2, 1), (2, 2), (3, 2)])
def test_a_sub_pixel_convolution_starts_by_repeating_pixels(rank, scale):
    x = np.random.default_rng(0).normal(size=(2, *(5, 4, 3)[:rank], 4)).astype("float32")

    def convolve(units, initializer):
        return to_numpy(CONVOLUTIONS[rank](units, 3, padding="same", kernel_initializer=initializer)(x))

    inner = keras_initx.HeNormal(seed=1)
    large = depth_to_space(convolve(2 * scale**rank, ICNR(inner, scale)), scale)
    np.testing.assert_allclose(large, enlarge(convolve(2, inner), scale), rtol=1e-5, atol=1e-6)


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's function is the reference")
def test_units_are_in_the_order_of_tensorflow():
    import tensorflow as tf

    x = np.arange(2 * 3 * 5 * 12, dtype="float32").reshape(2, 3, 5, 12)
    np.testing.assert_array_equal(depth_to_space(x, 2), tf.nn.depth_to_space(x, 2).numpy())


@pytest.mark.parametrize(
    "initializer",
    [
        "initx.lecun_uniform",
        {"class_name": "initx.lecun_uniform", "config": {"seed": 1}},
        keras.initializers.LecunUniform(seed=1),
        ICNR("initx.he_normal", 1),
    ],
    ids=label,
)
def test_any_initializer_can_be_inside(initializer):
    icnr = ICNR(initializer)
    blocks = np.split(to_numpy(icnr((3, 3, 4, 8))), 4, axis=-1)
    expected = to_numpy(icnr.initializer((3, 3, 4, 2)))
    for block in blocks:
        np.testing.assert_array_equal(block, expected)


def test_icnr_refuses_units_that_make_no_whole_blocks():
    with pytest.raises(ValueError, match=r"multiple of `scale \*\* 2`\. Received: shape=.*, scale \*\* 2=4"):
        ICNR()((3, 3, 4, 5))


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"initializer": np.ones(3)}, TypeError, r"`initializer` must be an initializer, .*\. Received: initializer="),
        ({"initializer": {"class_name": "initx.sparse", "config": {"seed": -1}}}, ValueError, "`initializer` must be"),
        ({"initializer": {"class_name": "initx.sparse", "config": {"a": 1}}}, ValueError, "`initializer` must be"),
        ({"scale": 0}, ValueError, r"`scale` must be a positive integer\. Received: scale=0"),
    ],
    ids=str,
)
def test_icnr_refuses_bad_arguments(kwargs, error, message):
    with pytest.raises(error, match=message):
        ICNR(**kwargs)


def test_icnr_refuses_a_function():
    """Keras takes functions, but they have no config to save."""
    scope = keras.saving.custom_object_scope({"my_function": lambda shape, dtype: np.ones(shape, dtype)})
    with scope, pytest.raises(ValueError, match=r"`initializer` must be .*\. Received: initializer='my_function'"):
        ICNR("my_function")


def upsample(x, strides, length):
    layer = TRANSPOSED[x.ndim - 2](
        x.shape[-1], length, strides=strides, padding="same", kernel_initializer="initx.bilinear"
    )
    return to_numpy(layer(x.astype("float32")))


@pytest.mark.parametrize(("rank", "strides"), [(1, 4), (2, 1), (2, 2), (2, 3), (3, 2)])
def test_a_transposed_convolution_continues_a_linear_image(rank, strides):
    def image(coordinates):
        """One channel falls, one is constant, one rises: each at its own pace along each axis."""
        height = sum((axis + 1) * x for axis, x in enumerate(np.meshgrid(*[coordinates] * rank, indexing="ij")))
        return np.stack([-height, np.ones_like(height), 2 * height + 1], axis=-1)[None]

    # The centers of the new pixels, in the coordinates of the old ones.
    centers = (np.arange(5 * strides) + 0.5) / strides - 0.5
    inside = (slice(None), *[slice(strides, -strides)] * rank)
    large = upsample(image(np.arange(5.0)), strides, 2 * strides - strides % 2)
    np.testing.assert_allclose(large[inside], image(centers)[inside], rtol=1e-5, atol=1e-5)


def test_the_taps_along_each_axis_are_a_triangle():
    kernel = to_numpy(Bilinear()((3, 4, 1, 1)))[..., 0, 0]
    np.testing.assert_array_equal(kernel, np.outer([0.5, 1, 0.5], [0.25, 0.75, 0.75, 0.25]))


def test_bilinear_refuses_other_outputs_than_inputs():
    with pytest.raises(
        ValueError, match=r"`shape` must have equal numbers of inputs and outputs.*shape=\(4, 4, 3, 2\)"
    ):
        Bilinear()((4, 4, 3, 2))


def test_bilinear_says_what_to_use_where_the_channels_change():
    layer = TRANSPOSED[2](32, 4, strides=2, padding="same", kernel_initializer="initx.bilinear")
    with pytest.raises(ValueError, match=r"a convolution with a window of 1, or use `VarianceScaling` here\."):
        layer.build((None, 8, 8, 64))
