"""What training minimizes is that of `fit`, and its building is undone."""

import keras
import numpy as np
from keras import layers, ops

from keras_initx.inspection._training import (
    compute_objective,
    computes_own_loss,
    preserve_compiled_loss,
    sum_added_losses,
)

X = np.ones((4, 3), "float32")
Y = np.zeros((4, 2), "float32")


def compiled(**kwargs):
    dense = layers.Dense(2, kernel_initializer="ones", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((3,)), dense])
    model.compile("sgd", "mse", **kwargs)
    return model


def test_the_objective_has_weights_and_penalties():
    model = compiled()
    outputs = model(X)
    weight = np.array([1.0, 1.0, 0.0, 0.0], "float32")
    assert float(ops.convert_to_numpy(sum_added_losses(model))) == np.float32(0.06)
    assert float(ops.convert_to_numpy(compute_objective(model, X, Y, outputs))) == np.float32(9.06)
    assert float(ops.convert_to_numpy(compute_objective(model, X, Y, outputs, weight))) == np.float32(4.56)


def test_a_loss_of_its_own_is_told():
    class Own(keras.Sequential):
        def compute_loss(self, x, y, y_pred, sample_weight=None):
            return ops.sum(y_pred)

    own = Own([keras.Input((3,)), layers.Dense(2, kernel_initializer="ones")])
    assert computes_own_loss(own)
    assert not computes_own_loss(compiled())
    assert float(ops.convert_to_numpy(compute_objective(own, X, Y, own(X)))) == 24


def test_the_compiled_loss_is_as_before():
    model = compiled()
    with preserve_compiled_loss(model):
        compute_objective(model, X, Y, model(X))
        assert model._compile_loss.built
    assert not model._compile_loss.built
    with preserve_compiled_loss(keras.Sequential([keras.Input((3,)), layers.Dense(2)])):
        pass
