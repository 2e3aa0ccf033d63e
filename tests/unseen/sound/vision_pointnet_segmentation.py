"""Parts of bodies, a class for each point, by PointNet, after keras.io examples/vision/pointnet_segmentation.py."""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/pointnet_segmentation/"

POINTS, PARTS = 128, 4


def unit(x, filters):
    x = layers.Conv1D(filters, kernel_size=1, padding="valid")(x)
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(x))


class Orthogonal(keras.regularizers.Regularizer):
    def __init__(self, width, strength=0.001):
        self.width, self.strength = width, strength

    def __call__(self, x):
        x = ops.reshape(x, (-1, self.width, self.width))
        product = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        return ops.sum(self.strength * ops.square(ops.subtract(product, np.eye(self.width, dtype="float32"))))


def turned(x, width):
    h = x
    for filters in (16, 32, 64):
        h = unit(h, filters)
    h = layers.GlobalMaxPooling1D()(h)
    for units in (32, 16):
        h = layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(layers.Dense(units)(h)))
    h = layers.Dense(
        width * width,
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(np.eye(width).flatten()),
        activity_regularizer=Orthogonal(width),
    )(h)
    return layers.Dot(axes=(2, 1))([x, layers.Reshape((width, width))(h)])


def build(count=96):
    rng = np.random.default_rng(0)
    part = rng.choice(PARTS, (count, POINTS), p=[0.5, 0.3, 0.1, 0.1])
    middle = np.array([[0, 0, 0], [0, 0.7, 0], [0.7, -0.1, 0.2], [-0.8, 0.1, 0]])
    half = np.array([[0.9, 0.12, 0.12], [0.1, 0.5, 0.03], [0.15, 0.15, 0.2], [0.1, 0.1, 0.35]])
    x = middle[part] + half[part] * rng.uniform(-1, 1, (count, POINTS, 3))
    x = x * rng.uniform(0.8, 1.2, (count, 1, 1))
    x = x - x.mean(axis=1, keepdims=True)
    x = x / np.linalg.norm(x, axis=-1).max(axis=1)[:, None, None]
    inputs = keras.Input((POINTS, 3))
    h1 = unit(turned(inputs, 3), 16)
    h2 = unit(h1, 24)
    h3 = unit(h2, 24)
    h4 = unit(turned(h3, 24), 48)
    h5 = layers.MaxPooling1D(pool_size=POINTS)(unit(h4, 96))
    whole = ops.tile(h5, (1, POINTS, 1))
    h = unit(layers.Concatenate()([h1, h2, h3, h4, whole]), 48)
    model = keras.Model(inputs, layers.Conv1D(PARTS, kernel_size=1, activation="softmax")(h))
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries=[2000], values=[0.003, 0.0015])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=rate),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model, x.astype("float32"), np.eye(PARTS, dtype="float32")[part]
