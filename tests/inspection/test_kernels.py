"""Which axes of a kernel are inputs and units, and how many inputs and outputs that makes."""

import keras
import numpy as np
import pytest
from modes import to_numpy
from stacks import arrays

import keras_initx
from keras_initx import initialize
from keras_initx.inspection._kernels import has_kernel, is_kernel, kernel_axes, kernel_groups

layers = keras.layers


@pytest.mark.parametrize(
    ("layer", "shape", "name", "fans"),
    [
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4), "kernel", (9, 18)),
        # A batch of kernels, one for each expert.
        (layers.EinsumDense("bsed,edf->bsef", (None, 32, 8)), (5, 32, 16), "kernel", (16, 256)),
        (layers.Embedding(50, 4), (5,), "embeddings", (50, 4)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_inputs_and_outputs_are_counted_as_the_layer_does(layer, shape, name, fans):
    model = keras.Sequential([keras.Input(shape), layer])
    plan = initialize(model, {f"*/{name}": "he_normal"}, seed=0)
    (weight,) = (weight for weight in plan.rows if weight.path.endswith(name))
    assert (weight.fan_in, weight.fan_out) == fans
    assert weight.expected_std == pytest.approx((2 / fans[0]) ** 0.5)
    # The draws of `he_normal`, which differ by their scale only.
    expected = keras_initx.TruncatedNormal(stddev=(2 / fans[0]) ** 0.5, seed=weight.seed)(weight.shape)
    np.testing.assert_array_equal(arrays(model)[weight.path], to_numpy(expected))


def mean_inputs(sums, strides):
    """Return the mean of the sums of ones in a period of the strides, away from the borders, without those of none."""
    period = tuple(
        slice(length // 2, length // 2 + stride) for length, stride in zip(sums.shape, strides, strict=False)
    )
    return float(sums[period][sums[period] > 0].mean())


class Up(layers.Conv2DTranspose):
    """A transposed convolution of a user."""


ONES = {"kernel_initializer": "ones", "use_bias": False}


# Older versions of Keras warn of borders, with torch.
@pytest.mark.filterwarnings("ignore:You might experience inconsistencies across backends")
@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv1DTranspose(6, 3, 2, dtype="mixed_bfloat16", **ONES),
        Up(6, (2, 5), (3, 2), **ONES),
        layers.Conv2DTranspose(6, 3, 2, output_padding=1, padding="same", **ONES),
        layers.Conv2DTranspose(6, 3, dilation_rate=2, **ONES),
    ],
    ids=lambda layer: f"{layer.kernel_size}, {layer.strides}",
)
def test_a_transposed_convolution_has_the_inputs_that_an_output_sums(layer):
    shape = (*(9 for _ in layer.kernel_size), 4)
    model = keras.Sequential([keras.Input(shape), layer])
    ones, one = np.ones((1, *shape)), np.zeros((1, *shape))
    one[(0, *(4 for _ in layer.kernel_size), 0)] = 1
    inputs = mean_inputs(to_numpy(model(ones)).astype("float32")[0], layer.strides)
    units = to_numpy(model(one)).astype("float32").sum()
    (weight,) = initialize(model, {"*": "initx.he_normal"}, seed=0).rows
    assert (weight.fan_in, weight.fan_out) == (inputs, units)
    expected = keras_initx.TruncatedNormal(stddev=(2 / inputs) ** 0.5, seed=weight.seed)(weight.shape)
    np.testing.assert_array_equal(arrays(model)[weight.path], to_numpy(expected))


CONVOLUTIONS_OF_TORCH = {
    "in groups": lambda nn: nn.Conv2d(8, 12, (3, 2), groups=4),
    "transposed, in groups": lambda nn: nn.ConvTranspose2d(8, 12, (3, 2), groups=4),
    "within a module": lambda nn: nn.Sequential(nn.ReLU(), nn.ConvTranspose1d(8, 12, 3, groups=2)),
}


@pytest.mark.parametrize("options", [{"stride": (4, 1), "dilation": 2}, {"stride": (2, 5), "groups": 4}], ids=str)
def test_a_transposed_convolution_of_torch_has_the_inputs_that_an_output_sums(options):
    import torch

    module = torch.nn.ConvTranspose2d(8, 12, 3, bias=False, **options)
    model = keras.Sequential([keras.Input((8, 9, 9)), layers.TorchModuleWrapper(module)])
    (weight,) = initialize(model, {"*": "initx.he_normal"}, seed=0).rows
    with torch.no_grad():
        module.weight.fill_(1)
    sums = to_numpy(model(np.ones((1, 8, 9, 9), "float32")))[0, 0]
    assert weight.fan_in == mean_inputs(sums, module.stride)


@pytest.mark.parametrize("make", CONVOLUTIONS_OF_TORCH.values(), ids=CONVOLUTIONS_OF_TORCH)
def test_the_fans_of_a_convolution_of_torch_are_counted(make):
    import torch

    module = make(torch.nn)
    convolution = next(part for part in module.modules() if hasattr(part, "groups"))
    shape = (8, *(7 for _ in convolution.kernel_size))
    ones, one = np.ones((1, *shape), "float32"), np.zeros((1, *shape), "float32")
    one[(0, 0, *(3 for _ in shape[1:]))] = 1
    model = keras.Sequential([keras.Input(shape), layers.TorchModuleWrapper(module)])
    model(ones)
    kernel = tuple(convolution.weight.shape)
    (planned,) = (
        row for row in keras_initx.initialize(model, {"*": "initx.he_normal"}, seed=0).rows if row.shape == kernel
    )
    apply = getattr(torch.nn.functional, f"conv{'_transpose' * convolution.transposed}{len(shape) - 1}d")
    most = apply(torch.from_numpy(ones), torch.ones(kernel), groups=convolution.groups).max()
    reached = apply(torch.from_numpy(one), torch.ones(kernel), groups=convolution.groups).sum()
    assert (planned.fan_in, planned.fan_out) == (most, reached)
    assert planned.expected_std == pytest.approx((2 / float(most)) ** 0.5)


MATRICES_OF_TORCH = {
    "convolution": lambda nn: nn.Conv2d(8, 12, (3, 2)),
    "transposed": lambda nn: nn.ConvTranspose2d(8, 12, (3, 2)),
    "recurrent": lambda nn: nn.LSTM(8, 12, batch_first=True),
}


@pytest.mark.parametrize("make", MATRICES_OF_TORCH.values(), ids=MATRICES_OF_TORCH)
def test_the_units_of_a_kernel_of_torch_are_along_its_own_axes(make):
    import torch

    module = make(torch.nn)
    model = keras.Sequential([layers.TorchModuleWrapper(module)])
    model.build((1, 8))
    axis = 1 if getattr(module, "transposed", False) else 0

    def matrices(initializer):
        keras_initx.initialize(model, {layers.TorchModuleWrapper: initializer}, seed=0)
        kernels = (parameter for parameter in module.parameters() if parameter.ndim > 1)
        return [to_numpy(kernel).swapaxes(0, axis).reshape(kernel.shape[axis], -1) for kernel in kernels]

    for units in matrices(keras_initx.Sparse(3)):
        assert (np.count_nonzero(units, axis=1) == 3).all()
    for units in matrices("initx.orthogonal"):
        short = units if len(units) <= units.shape[1] else units.T
        np.testing.assert_allclose(short @ short.T, np.eye(len(short)), atol=1e-5)


def test_the_units_of_a_transposed_convolution_are_its_filters():
    model = keras.Sequential([keras.Input((5, 5, 8)), layers.Conv2DTranspose(4, 3, name="up")])
    initialize(model, {"up/kernel": keras_initx.Sparse(5)}, seed=0)
    kernel = arrays(model)["up/kernel"]
    assert (np.count_nonzero(kernel, axis=(0, 1, 3)) == 5).all()


def test_the_units_of_a_matrix_in_an_equation_are_where_it_says():
    model = keras.Sequential([keras.Input((8,)), layers.EinsumDense("ab,cb->ac", (4,), name="einsum")])
    initialize(model, {"einsum/kernel": keras_initx.Sparse(5)}, seed=0)
    assert (np.count_nonzero(arrays(model)["einsum/kernel"], axis=1) == 5).all()


def test_a_table_of_torch_has_the_fans_of_one_of_keras():
    import torch

    model = keras.Sequential([layers.TorchModuleWrapper(torch.nn.Embedding(50, 7))])
    model.build((1, 8))
    (planned,) = keras_initx.initialize(model, {"*": "initx.he_normal"}, seed=0).rows
    assert (planned.fan_in, planned.fan_out) == (50, 7)


def first_weight(layer, shape):
    keras.Sequential([keras.Input(shape), layer])
    return layer.weights[0]


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (layers.Dense(3), (4,), ((0,), (1,))),
        (layers.Conv2D(3, 2), (8, 8, 4), ((0, 1, 2), (0, 1, 3))),
        (layers.Conv2DTranspose(3, 2), (8, 8, 4), ((0, 1, 3), (0, 1, 2))),
        (layers.DepthwiseConv2D(2), (8, 8, 4), ((0, 1), (0, 1, 3))),
        (layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (5, 4), ((0,), (1, 2))),
        (layers.Embedding(9, 4), (5,), ((0,), (1,))),
    ],
    ids=lambda value: getattr(type(value), "__name__", None),
)
def test_the_axes_of_inputs_and_units_are_those_of_the_layer(layer, shape, axes):
    assert kernel_axes(layer, first_weight(layer, shape)) == axes


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(layers.PReLU(), (4, 3)), (layers.BatchNormalization(), (4,)), (layers.Normalization(axis=(1, 2)), (4, 3))],
    ids=lambda value: getattr(type(value), "__name__", None),
)
def test_slopes_scales_and_statistics_are_no_kernels(layer, shape):
    keras.Sequential([keras.Input(shape), layer])
    assert not any(map(is_kernel, layer.weights))
    assert not has_kernel(layer)


def test_units_of_a_grouped_convolution_are_connected_to_one_group():
    layer = layers.Conv2D(6, 3, groups=3)
    assert kernel_groups(layer, first_weight(layer, (8, 8, 9))) == (1, 3)
