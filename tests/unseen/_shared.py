"""Data and layers that several of the sound programs have."""

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits


def pictures(classes, size, channels=3, count=128, seed=0):
    """Return smooth pictures in 0..1, a coloured spot on a shaded ground, and their class numbers."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angles = 2 * np.pi * labels[:, None, None] / classes
    tilt = rng.normal(0, 0.1, (2, count, 1, 1))
    centre = 0.5 * np.stack([np.sin(angles), np.cos(angles)]) + rng.normal(0, 0.08, (2, count, 1, 1))
    spot = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 0.15)
    ground = 0.4 + tilt[0] * rows + tilt[1] * columns
    colour = 0.5 + 0.4 * np.cos(angles[..., None] + np.arange(channels) * 2)
    x = ground[..., None] * (1 - spot[..., None]) + spot[..., None] * colour
    return np.clip(x + rng.normal(0, 0.02, x.shape), 0, 1).astype("float32"), labels


def digits(size, count=256):
    """Return handwritten digits in 0..1, enlarged to `size` pixels, and their labels."""
    data = load_digits()
    steps = np.linspace(0, 7, size).round().astype(int)
    x = data.images[:count, steps][:, :, steps, None] / 16
    return x.astype("float32"), data.target[:count]


def reviews(vocabulary, length, count=256, classes=2, seed=0):
    """Return padded rows of word numbers, frequent words first, and labels that some of the words tell."""
    rng = np.random.default_rng(seed)
    chance = 1 / (np.arange(2, vocabulary) + 5.0)
    x = rng.choice(np.arange(2, vocabulary), (count, length), p=chance / chance.sum())
    y = rng.permutation(np.arange(count) % classes)
    telling = vocabulary // 2 + y[:, None] * 20 + rng.integers(0, 20, (count, length))
    x = np.where(rng.random((count, length)) < 0.15, telling, x)
    ends = rng.integers(length // 2, length + 1, (count, 1))
    return np.where(np.arange(length) < ends, x, 0).astype("int32"), y


def dense(before, units, activation="relu", penalty=1e-4 / 200):
    """Return a layer with the starting values and the penalty of scikit-learn's networks."""
    bound = ((2 if activation == "sigmoid" else 6) / (before + units)) ** 0.5
    start = keras.initializers.RandomUniform(-bound, bound)
    return layers.Dense(
        units,
        activation=activation,
        kernel_initializer=start,
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        kernel_regularizer=keras.regularizers.L2(penalty / 2),
    )


class Embeddings(layers.Layer):
    """Sum of embeddings of tokens and of their places."""

    def __init__(self, length, vocabulary, width):
        super().__init__()
        self.tokens, self.places = layers.Embedding(vocabulary, width), layers.Embedding(length, width)

    def call(self, x):
        return self.tokens(x) + self.places(ops.arange(0, x.shape[-1]))


class Patches(layers.Layer):
    """Cuts pictures into a row of flat patches."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def call(self, x):
        x = ops.image.extract_patches(x, self.size)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))


class Places(layers.Layer):
    """Projects patches and adds an embedding of their places."""

    def __init__(self, count, width):
        super().__init__()
        self.count = count
        self.projection, self.places = layers.Dense(width), layers.Embedding(count, width)

    def call(self, x):
        return self.projection(x) + self.places(ops.arange(self.count))
