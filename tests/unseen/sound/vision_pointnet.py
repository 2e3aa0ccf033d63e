"""Kinds of bodies from clouds of points by PointNet with learned turns, after keras.io examples/vision/pointnet.py."""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/pointnet/"

POINTS = 128


@keras.saving.register_keras_serializable("sound")
class Orthogonal(keras.regularizers.Regularizer):
    def __init__(self, width, strength=0.001):
        self.width, self.strength = width, strength

    def __call__(self, x):
        x = ops.reshape(x, (-1, self.width, self.width))
        product = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        return ops.sum(self.strength * ops.square(ops.subtract(product, np.eye(self.width, dtype="float32"))))


def unit(x, width, kind):
    x = kind(width)(x)
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(x))


def convolution(width):
    return layers.Conv1D(width, kernel_size=1, padding="valid")


def turned(x, width):
    h = x
    for units in (16, 24, 64):
        h = unit(h, units, convolution)
    h = layers.GlobalMaxPooling1D()(h)
    for units in (32, 16):
        h = unit(h, units, layers.Dense)
    h = layers.Dense(
        width * width,
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(np.eye(width).flatten()),
        activity_regularizer=Orthogonal(width),
    )(h)
    return layers.Dot(axes=(2, 1))([x, layers.Reshape((width, width))(h)])


def clouds(count=160, classes=4):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % classes)
    points = rng.normal(size=(count, POINTS, 3))
    ball = points / np.linalg.norm(points, axis=-1, keepdims=True)
    box = points / np.abs(points).max(-1, keepdims=True)
    rod = np.concatenate([0.2 * ball[..., :2], rng.uniform(-1, 1, (count, POINTS, 1))], axis=-1)
    plate = np.concatenate([rng.uniform(-1, 1, (count, POINTS, 2)), 0.05 * ball[..., 2:]], axis=-1)
    x = np.stack([ball, box, rod, plate])[y, np.arange(count)]
    return (x + rng.uniform(-0.005, 0.005, x.shape)).astype("float32"), y


def build():
    x, y = clouds()
    inputs = keras.Input((POINTS, 3))
    h = turned(inputs, 3)
    for units in (16, 16):
        h = unit(h, units, convolution)
    h = turned(h, 16)
    for units in (16, 32, 64):
        h = unit(h, units, convolution)
    h = layers.GlobalMaxPooling1D()(h)
    for units in (32, 24):
        h = layers.Dropout(0.3)(unit(h, units, layers.Dense))
    model = keras.Model(inputs, layers.Dense(4, activation="softmax")(h))
    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(learning_rate=0.001),
        metrics=["sparse_categorical_accuracy"],
    )
    return model, x, y
