"""Every layer of Keras builds with string ids."""

import keras
import numpy as np
import pytest
from modes import to_numpy

import keras_initx

layers = keras.layers

# Constructor of each layer, given the name of its initializer argument, and the shape of its input.
KERNEL_LAYERS = {
    "Conv1D": (lambda init: layers.Conv1D(6, 3, kernel_initializer=init), (8, 4)),
    "Conv1DTranspose": (lambda init: layers.Conv1DTranspose(6, 3, kernel_initializer=init), (8, 4)),
    "Conv2D": (lambda init: layers.Conv2D(6, 3, kernel_initializer=init), (8, 8, 4)),
    "Conv2DTranspose": (lambda init: layers.Conv2DTranspose(6, 3, kernel_initializer=init), (8, 8, 4)),
    "Conv3D": (lambda init: layers.Conv3D(6, 3, kernel_initializer=init), (4, 4, 4, 2)),
    "ConvLSTM1D": (lambda init: layers.ConvLSTM1D(6, 3, recurrent_initializer=init), (3, 8, 4)),
    "Dense": (lambda init: layers.Dense(6, kernel_initializer=init), (8,)),
    "DepthwiseConv2D": (lambda init: layers.DepthwiseConv2D(3, depthwise_initializer=init), (8, 8, 4)),
    "EinsumDense": (lambda init: layers.EinsumDense("ab,bcd->acd", (2, 3), kernel_initializer=init), (8,)),
    "Embedding": (lambda init: layers.Embedding(9, 5, embeddings_initializer=init), (4,)),
    "GRU": (lambda init: layers.GRU(6, kernel_initializer=init, recurrent_initializer=init), (3, 4)),
    "LSTM": (lambda init: layers.LSTM(6, kernel_initializer=init, recurrent_initializer=init), (3, 4)),
    "SeparableConv2D": (
        lambda init: layers.SeparableConv2D(6, 3, depthwise_initializer=init, pointwise_initializer=init),
        (8, 8, 4),
    ),
    "SimpleRNN": (lambda init: layers.SimpleRNN(6, recurrent_initializer=init), (3, 4)),
}


@pytest.mark.parametrize("name", ["initx.sparse", "initx.orthogonal", "initx.glorot_uniform", "initx.truncated_normal"])
@pytest.mark.parametrize("layer", KERNEL_LAYERS)
def test_a_layer_builds_and_runs_with_an_id_for_its_kernel(layer, name):
    make, shape = KERNEL_LAYERS[layer]
    model = keras.Sequential([keras.Input(shape), make(name)])
    assert np.isfinite(to_numpy(model(np.ones((2, *shape), "float32")))).all()
    assert any(np.any(to_numpy(variable)) for variable in model.trainable_variables)


@pytest.mark.parametrize("name", ["initx.sparse", "initx.orthogonal", "initx.glorot_uniform", "initx.random_normal"])
def test_attention_draws_each_of_its_kernels_anew(name):
    layer = layers.MultiHeadAttention(2, 4, kernel_initializer=name)
    layer.build((None, 5, 8), (None, 5, 8))
    query, key = (to_numpy(dense.kernel) for dense in (layer.query_dense, layer.key_dense))
    assert not np.array_equal(query, key)


def test_the_directions_of_a_bidirectional_layer_differ():
    layer = layers.Bidirectional(layers.LSTM(4, kernel_initializer="initx.orthogonal"))
    layer.build((None, 3, 4))
    forward, backward = (to_numpy(part.cell.kernel) for part in (layer.forward_layer, layer.backward_layer))
    assert not np.array_equal(forward, backward)


@pytest.mark.parametrize("layer", ["Dense", "Conv2D", "EinsumDense", "GRU"])
def test_relu_bias_fills_any_bias(layer):
    make = {
        "Dense": lambda init: (layers.Dense(6, bias_initializer=init), (None, 8)),
        "Conv2D": lambda init: (layers.Conv2D(6, 3, bias_initializer=init), (None, 8, 8, 4)),
        "EinsumDense": lambda init: (
            layers.EinsumDense("ab,bcd->acd", (2, 3), bias_axes="cd", bias_initializer=init),
            (None, 8),
        ),
        "GRU": lambda init: (layers.GRU(6, bias_initializer=init), (None, 3, 4)),
    }[layer]
    built, shape = make("initx.relu_bias")
    built.build(shape)
    bias = built.cell.bias if layer == "GRU" else built.bias
    assert np.unique(to_numpy(bias)).tolist() == [np.float32(0.01)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_bfloat16"])
def test_an_lstm_builds_in_16_bits(dtype):
    layer = layers.LSTM(8, recurrent_initializer="initx.orthogonal", dtype=dtype)
    layer.build((None, 3, 4))
    kernel = to_numpy(layer.cell.recurrent_kernel).astype("float32")
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(8), atol=2e-2)


def test_set_random_seed_rules_a_model_built_with_ids():
    def weights():
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [
                keras.Input((8,)),
                layers.Dense(16, kernel_initializer="initx.sparse"),
                layers.Dropout(0.5),
                layers.Dense(16, kernel_initializer="initx.orthogonal"),
            ]
        ).get_weights()

    for first, second in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_values_do_not_depend_on_what_was_built_before():
    initializer = keras_initx.Sparse(seed=3)
    first = to_numpy(initializer((30, 4)))
    initializer((5, 5))
    np.testing.assert_array_equal(first, to_numpy(initializer((30, 4))))
