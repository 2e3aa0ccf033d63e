"""What a model with our initializers computes comes out of each format that Keras exports to here."""

import importlib.util

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

import keras_initx

pytestmark = pytest.mark.every_backend

layers = keras.layers


def convolutional():
    x = keras.Input((8, 8, 2))
    y = layers.Conv2D(4, 3, padding="same", kernel_initializer="initx.delta_orthogonal")(x)
    y = layers.Conv2D(16, 3, padding="same", kernel_initializer=keras_initx.ICNR("initx.he_normal", 2))(y)
    y = layers.Conv2DTranspose(16, 4, strides=2, padding="same", kernel_initializer="initx.bilinear")(y)
    return keras.Model(x, layers.GlobalAveragePooling2D()(y))


@pytest.fixture
def model():
    model = convolutional()
    keras_initx.initialize(model, seed=0)
    return model


def batch(model):
    return np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype("float32")


def assert_computes(outputs, model, x):
    np.testing.assert_allclose(np.asarray(outputs), to_numpy(model(x)), rtol=0, atol=1e-5)


# Keras tells jax2tf what it does by now anyway.
@pytest.mark.filterwarnings("ignore:The `native_serialization` parameter is deprecated:DeprecationWarning")
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="a SavedModel is written by TensorFlow")
@pytest.mark.skipif(BACKEND == "torch", reason="torch is exported to a SavedModel by torch_xla only")
def test_a_saved_model_of_tensorflow(model, tmp_path):
    import tensorflow as tf

    x = batch(model)
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    assert_computes(loaded.serve(x), model, x)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="LiteRT needs packages of its own elsewhere")
# What is to come after tf.lite is a package of its own.
@pytest.mark.filterwarnings(r"ignore:\s*Warning. tf.lite.Interpreter is deprecated:UserWarning")
def test_litert(model, tmp_path):
    import tensorflow as tf

    x = batch(model)
    model.export(tmp_path / "exported.tflite", format="litert", verbose=False)
    interpreter = tf.lite.Interpreter(str(tmp_path / "exported.tflite"))
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    assert_computes(interpreter.get_tensor(result["index"]), model, x)


@pytest.mark.skipif(BACKEND != "torch", reason="the format is torch's own")
def test_a_program_of_torch(model, tmp_path):
    import torch

    x = batch(model)
    model.export(tmp_path / "exported.pt2", format="torch", verbose=False)
    assert_computes(torch.export.load(tmp_path / "exported.pt2").module()(torch.tensor(x)).detach(), model, x)


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
def test_onnx(model, tmp_path):
    import onnxruntime

    x = batch(model)
    model.export(tmp_path / "exported.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "exported.onnx")
    (outputs,) = session.run(None, {session.get_inputs()[0].name: x})
    assert_computes(outputs, model, x)
