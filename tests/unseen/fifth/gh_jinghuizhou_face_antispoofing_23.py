"""Faces and pictures of faces are told apart by SqueezeNet with an own head and an own focal loss: the loss is NaN.

Fault: nothing normalizes the signals: pictures of 0 to 255 enter, and the focal loss takes the logarithm of a
probability that has become zero.
Repair (the asker, who checked it): batch normalization after the convolution of the head. The repaired form also scales
the pictures, takes the logarithm of the softmax directly. SqueezeNet
has a quarter of its channels and new weights of its own initialization (He) instead of those of ImageNet, which
expect pictures scaled to about a standard deviation of one; drawn pictures of 64 x 64 instead of 224 x 224.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/JinghuiZhou/awesome_face_antispoofing/issues/23"
YEAR = 2019
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "person"
KINDS = ("inputs: scale or offset", "loss: value or gradient not finite")
VISIBLE = True
EVIDENCE = (
    "inputs of 11 to 245 with a mean of 117: logits of a standard deviation of 22 to 110 instead of 0.3,"
    " first losses of"
    " 13.4, 11.3 and inf instead of 0.2, the gradient of the first kernel 190, 160 and NaN instead of 0.2 to 0.8"
)
REPRODUCED = True


def focal(y_true, y_pred):
    """The focal loss of the repository: gamma is 2, and outputs are logits."""
    chosen = ops.sum(ops.softmax(y_pred) * y_true, -1)
    return -ops.square(1 - chosen) * ops.log(chosen)


def stable_focal(y_true, y_pred):
    logarithms = ops.sum(ops.log_softmax(y_pred) * y_true, -1)
    return -ops.square(1 - ops.exp(logarithms)) * logarithms


def bounds(inputs):
    """Return the default initializers of the framework for a layer with so many inputs."""
    bound = inputs**-0.5
    return {
        "kernel_initializer": keras.initializers.RandomUniform(-bound, bound),
        "bias_initializer": keras.initializers.RandomUniform(-bound, bound),
    }


def fire(x, squeezed, expanded):
    x = layers.Conv2D(squeezed, 1, activation="relu", kernel_initializer="he_uniform")(x)
    left = layers.Conv2D(expanded, 1, activation="relu", kernel_initializer="he_uniform")(x)
    right = layers.Conv2D(expanded, 3, padding="same", activation="relu", kernel_initializer="he_uniform")(x)
    return layers.Concatenate()([left, right])


def build(repaired):
    rng = np.random.default_rng(0)
    count, size = 160, 64
    labels = np.arange(count) % 2
    rows, columns = np.mgrid[:size, :size] / size
    phases = rng.uniform(0, 6, (count, 1, 1))
    faces = 110 + 60 * np.exp(-((rows - 0.5) ** 2 + (columns - 0.5) ** 2) * 8) + 20 * np.sin(5 * rows + phases)
    grid = 25 * np.sin(80 * columns + 60 * rows + phases) * labels[:, None, None]
    x = (faces + grid)[..., None] * [0.8, 0.9, 1.0] + rng.normal(0, 12, (count, size, size, 3))
    x = np.clip(x, 0, 255).round()
    if repaired:
        x = x / 127.5 - 1
    inputs = keras.Input((size, size, 3))
    hidden = layers.Conv2D(24, 7, strides=2, activation="relu", kernel_initializer="he_uniform")(inputs)
    hidden = layers.MaxPooling2D(3, 2)(hidden)
    for squeezed, expanded in ((4, 16), (4, 16), (8, 32)):
        hidden = fire(hidden, squeezed, expanded)
    hidden = layers.MaxPooling2D(3, 2)(hidden)
    for squeezed, expanded in ((8, 32), (12, 48), (12, 48), (16, 64)):
        hidden = fire(hidden, squeezed, expanded)
    hidden = layers.MaxPooling2D(3, 2, padding="same")(hidden)
    hidden = fire(hidden, 16, 64)
    hidden = layers.Conv2D(128, 1, **bounds(128))(hidden)
    if repaired:
        hidden = layers.BatchNormalization(momentum=0.9)(hidden)
    hidden = layers.ReLU()(hidden)
    hidden = layers.SpatialDropout2D(0.5)(hidden)
    hidden = layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(inputs, layers.Dense(2, **bounds(128))(hidden))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=1e-5)
    model.compile(optimizer, stable_focal if repaired else focal)
    return model, x.astype("float32"), np.eye(2, dtype="float32")[labels]


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=14, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
