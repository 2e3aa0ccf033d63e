"""A VGG16 with several labels for each picture is trained with the rates of its authors: the loss stays high.

Fault: the pretrained weights were not in place; what is left is the start of PyTorch for 15 convolutions.
Repair (maintainer: are the weights loaded properly? asker: works with his file): pretrained weights.
Here they come from a short training on single things, with the same pixels; narrower layers, 32 by 32 pixels, six
classes instead of 20. The tenfold rate of the last layer is a factor behind it; the first four layers are frozen.
"""

import functools

import keras
import numpy as np
from _program import predictions, separated
from keras import layers

URL = "https://github.com/jiwoon-ahn/psa/issues/1"
YEAR = 2018
TOPIC = "image classification"
CONFIRMED = "asker"
KINDS = ("depth: signal or gradient vanishes", "weights: too small")
VISIBLE = True
EVIDENCE = (
    "the outputs for 32 pictures differ by 5e-6 (standard deviation) at values of 0.1, those of the first layer "
    "by 13: nearly nothing of the input comes through 16 layers; gradients fall from 0.2 to 2e-5"
)
REPRODUCED = True
SIZE, CLASSES = 32, 6
FILTERS = (8, 8, 0, 12, 12, 0, 16, 16, 16, 0, 24, 24, 24, 24, 24, 24)


def pictures(rng, count, most):
    """Return pixels less their mean, with up to `most` things of the six shapes in each, and what there is."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x, y = np.empty((count, SIZE, SIZE, 3)), np.zeros((count, CLASSES), "float32")
    for number in range(count):
        x[number] = rng.uniform(0, 255, 3) * 0.5 + 10 * rng.normal(size=(SIZE, SIZE, 1))
        for kind in rng.choice(CLASSES, rng.integers(1, most + 1), replace=False):
            row, column, radius = *rng.uniform(8, 24, 2), rng.uniform(5, 8)
            down, across = (rows - row) / radius, (columns - column) / radius
            far = np.hypot(down, across)
            shape = (
                far < 1,
                (far < 1) & (far > 0.6),
                np.maximum(abs(down), abs(across)) < 0.85,
                (np.minimum(abs(down), abs(across)) < 0.3) & (far < 1.1),
                (abs(down) < 0.3) & (abs(across) < 1.2),
                (abs(across) < 0.3) & (abs(down) < 1.2),
            )[kind]
            x[number][shape] = rng.uniform(128, 255, 3)
            y[number, kind] = 1
    return (np.clip(x, 0, 255) - 117).astype("float32"), y


def network(start, last):
    """Return the network; `start` gives the initializers of a layer with so many inputs."""
    model, channels = keras.Sequential([keras.Input((SIZE, SIZE, 3))]), 3
    for number, filters in enumerate(FILTERS):
        if not filters:
            model.add(layers.MaxPooling2D(3, 2, padding="same"))
            continue
        dilation = 2 if number > 12 else 1
        model.add(
            layers.Conv2D(
                filters, 3, padding="same", dilation_rate=dilation, activation="relu", **start(9 * channels, number)
            )
        )
        channels = filters
    model.add(layers.AveragePooling2D(3, 1, padding="same"))
    for filters, size in ((32, 3), (32, 1)):
        model.add(layers.Conv2D(filters, size, padding="same", activation="relu", **start(size**2 * channels, 1)))
        model.add(layers.SpatialDropout2D(0.5))
        channels = filters
    model.add(layers.Conv2D(last, 1, use_bias=False, kernel_initializer="glorot_uniform"))
    model.add(layers.GlobalAveragePooling2D())
    return model


def he(fan, number):
    return {"kernel_initializer": keras.initializers.RandomNormal(stddev=(2 / fan) ** 0.5 / (1 if number else 70))}


def torch_start(fan, number):
    names = "kernel_initializer", "bias_initializer"
    return {name: keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5) for name in names}


@functools.cache
def pretrained():
    """Return the weights of the layers, without the last ones, after a training on pictures of one thing each."""
    model = network(he, CLASSES)
    x, y = pictures(np.random.default_rng(1), 600, 1)
    model.compile(keras.optimizers.Adam(0.002), keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=30, epochs=10, verbose=0)
    return [layer.get_weights() for layer in model.layers[:-2]]


def build(repaired):
    rng = np.random.default_rng(0)
    x, y = pictures(rng, 300, 2)
    model = network(torch_start, CLASSES)
    if repaired:
        for layer, learned in zip(model.layers[:-2], pretrained(), strict=False):
            layer.set_weights(learned)
    for layer in [layer for layer in model.layers if isinstance(layer, layers.Conv2D)][:4]:
        layer.trainable = False
    # Ten times the rate for the last weights: they are smaller by the root of ten, and the outputs are multiplied.
    model.layers[-2].set_weights([weights / 10**0.5 for weights in model.layers[-2].get_weights()])
    model.add(layers.Rescaling(10**0.5))
    steps = keras.optimizers.schedules.PolynomialDecay(0.1, 150, 0.0, power=0.9)
    model.compile(keras.optimizers.SGD(steps, weight_decay=5e-4), keras.losses.BinaryCrossentropy(from_logits=True))
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=8, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    return float(np.mean([separated(outputs[:, kind], y[:, kind]) for kind in range(CLASSES)]))
