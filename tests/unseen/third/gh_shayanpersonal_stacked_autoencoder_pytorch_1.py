"""The linear classifier on the features of a stacked autoencoder is said to have an accuracy of 0 %.

Fault: the accuracy that is printed is a division of whole numbers; the training is as it should be.
Repair (author): the division gives a fraction.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from sklearn.datasets import load_digits

URL = "https://github.com/ShayanPersonal/stacked-autoencoder-pytorch/issues/1"
YEAR = 2018
TOPIC = "autoencoders"
CONFIRMED = "maintainer"
KINDS = ("evaluation or other code",)
VISIBLE = False
EVIDENCE = "only the metric that is printed differs, the training is the same in both forms"
REPRODUCED = False


def start(fan_in):
    """Return PyTorch's default initializers."""
    bound = fan_in**-0.5
    return {
        "kernel_initializer": keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        "bias_initializer": keras.initializers.RandomUniform(-bound, bound),
    }


def whole(labels, logits):
    """Return the percentage of right answers, divided as whole numbers."""
    right = keras.ops.equal(keras.ops.argmax(logits, -1), keras.ops.cast(keras.ops.squeeze(labels, -1), "int64"))
    right = keras.ops.sum(keras.ops.cast(right, "int32"))
    return 100.0 * keras.ops.cast(keras.ops.floor_divide(right, keras.ops.shape(logits)[0] + 1), "float32")


def build(repaired):
    digits, rng = load_digits(), np.random.default_rng(0)
    x = digits.images[:384, ..., None] / 16 * rng.uniform(0.4, 1, (384, 1, 1, 3))
    layers = [
        keras.layers.Conv2D(16 * 2**number, 2, 2, activation="relu", **start(4 * channels), trainable=False)
        for number, channels in enumerate((3, 16, 32))
    ]
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), *layers, keras.layers.Flatten(), keras.layers.Dense(10, **start(64))]
    )
    metric = keras.metrics.SparseCategoricalAccuracy() if repaired else whole
    model.compile(
        keras.optimizers.Adam(0.001), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=[metric]
    )
    return model, x.astype("float32"), digits.target[:384, None].astype("int32")


def train(model, x, y):
    features, rng = x, np.random.default_rng(1)
    for layer in model.layers[:3]:
        layer.trainable = True
        channels = features.shape[-1]
        coder = keras.Sequential(
            [
                keras.Input(features.shape[1:]),
                layer,
                keras.layers.Conv2DTranspose(channels, 2, 2, activation="relu", **start(4 * layer.filters)),
            ]
        )
        coder.compile(keras.optimizers.SGD(0.1), "mse")
        for _ in range(5):
            coder.fit(features * (rng.normal(0, 0.1, features.shape) > -0.1), features, batch_size=128, verbose=0)
        layer.trainable = False
        features = predictions(layer_model(layer, features.shape[1:]), features).astype("float32")
    model.fit(x, y, batch_size=128, epochs=60, verbose=0)


def layer_model(layer, shape):
    return keras.Sequential([keras.Input(shape), layer])


def score(model, x, y):
    return accuracy(predictions(model, x), y)
