"""Kernels whose units are not along the last axis, in the layers that have them."""

import keras
import numpy as np
import pytest
from modes import needs_axes, to_numpy

from keras_initx import Orthogonal, Sparse

layers = keras.layers
both = pytest.mark.parametrize("cls", [Sparse, Orthogonal])


def assert_orthonormal(matrix):
    small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-5)


@pytest.mark.parametrize(
    "axes",
    [{"output_axes": (-1,)}, {"input_axes": [-2, 0, 1]}, {"input_axes": [2, 1, 0], "output_axes": [3]}],
    ids=str,
)
def test_the_last_axis_is_the_units_by_default_and_the_order_of_axes_does_not_matter(axes):
    shape = (3, 3, 4, 8)
    np.testing.assert_array_equal(to_numpy(Sparse(seed=0, **axes)(shape)), to_numpy(Sparse(seed=0)(shape)))


@both
def test_a_matrix_is_put_where_the_axes_say(cls):
    matrix = to_numpy(cls(seed=0)((20, 12)))
    kernel = to_numpy(cls(seed=0, input_axes=[1, 3])((3, 5, 4, 4)))
    np.testing.assert_array_equal(kernel.transpose(1, 3, 0, 2).reshape(20, 12), matrix)


# Output shape, and input shape without the batch. What `b` stands for has the length 1.
EINSUMS = {
    "ab,bc->ac": ((7,), (20,)),
    "abc,cde->abde": ((None, 3, 4), (1, 20)),
    "abcd,ecd->abe": ((1, 9), (1, 5, 4)),
}


def einsum_dense(equation, initializer):
    output_shape, input_shape = EINSUMS[equation]
    layer = layers.EinsumDense(equation, output_shape, kernel_initializer=initializer)
    layer.build((None, *input_shape))
    return layer, input_shape


def connections(layer, input_shape):
    """Return the numbers of inputs that the outputs of a layer are joined to, by counting them with the layer."""
    layer.kernel.assign(to_numpy(layer.kernel) != 0)
    return to_numpy(layer(np.ones((1, *input_shape), "float32")))


@needs_axes
@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum_dense_joins_each_output_to_k_inputs(equation):
    assert np.unique(connections(*einsum_dense(equation, Sparse(connections=3)))).tolist() == [3]


@needs_axes
@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum_dense_is_orthogonal(equation):
    layer, input_shape = einsum_dense(equation, "initx.orthogonal")
    assert_orthonormal(to_numpy(layer(np.eye(20).reshape(20, *input_shape))).reshape(20, -1))


@needs_axes
def test_blocks_separate_a_letter_that_all_share():
    layer = layers.EinsumDense("abc,bcd->abd", (6, 4), kernel_initializer=Orthogonal(blocks=6))
    layer.build((None, 6, 5))
    for part in to_numpy(layer.kernel):
        assert_orthonormal(part)


def attention_kernels(initializer):
    """Return kernels of two layers as `(inputs, units)`: those of queries, keys and values, and those of outputs."""
    for layer in (
        layers.MultiHeadAttention(4, 8, kernel_initializer=initializer),
        layers.GroupQueryAttention(8, 4, 2, kernel_initializer=initializer),
    ):
        layer.build((None, 5, 24), (None, 5, 24))
        kernels = {weight.path: to_numpy(weight) for weight in layer.weights if weight.name == "kernel"}
        assert len(kernels) == 4
        for path, kernel in kernels.items():
            yield kernel.reshape((-1, 24) if "attention_output" in path else (24, -1))


@needs_axes
def test_attention_joins_each_output_to_k_inputs():
    for kernel in attention_kernels("initx.sparse"):
        assert np.unique(np.count_nonzero(kernel, axis=0)).tolist() == [10]


@needs_axes
@pytest.mark.parametrize("seed", [None, 5, "generator"])
def test_einsum_dense_keeps_the_seed(seed):
    generator = keras.random.SeedGenerator(5)
    initializer = Sparse(seed=generator if seed == "generator" else seed)
    layer, _ = einsum_dense("abc,cde->abde", initializer)
    known = initializer.seed if seed is None else 5
    np.testing.assert_array_equal(to_numpy(layer.kernel), to_numpy(Sparse(seed=known, input_axes=[0])((20, 3, 4))))
    if seed == "generator":
        assert to_numpy(generator.state.value).tolist() == [5, 1]


def test_axes_given_to_einsum_dense_are_kept():
    told = Sparse(seed=0, input_axes=[0, 1], output_axes=[2])
    layer, _ = einsum_dense("abc,cde->abde", told)
    np.testing.assert_array_equal(to_numpy(layer.kernel), to_numpy(told((20, 3, 4))))


def test_a_depthwise_convolution_joins_each_filter_to_k_of_its_window():
    told = Sparse(connections=4, input_axes=[0, 1])
    layer = layers.DepthwiseConv2D(3, depth_multiplier=5, depthwise_initializer=told)
    layer.build((None, 6, 6, 16))
    assert np.unique(connections(layer, (6, 6, 16))).tolist() == [4]


def test_a_transposed_convolution_has_orthonormal_units():
    layer = layers.Conv2DTranspose(7, 3, kernel_initializer=Orthogonal(input_axes=[0, 1, 3]))
    layer.build((None, 6, 6, 5))
    assert_orthonormal(np.moveaxis(to_numpy(layer.kernel), 2, -1).reshape(45, 7))


@pytest.mark.parametrize("axes", ["input_axes", "output_axes"])
def test_a_vector_is_a_matrix_once_its_axis_is_named(axes):
    inputs, units = (8, 1) if axes == "input_axes" else (1, 8)
    vector = to_numpy(Sparse(3, seed=0, **{axes: [0]})((8,)))
    np.testing.assert_array_equal(vector, to_numpy(Sparse(3, seed=0)((inputs, units))).reshape(8))
