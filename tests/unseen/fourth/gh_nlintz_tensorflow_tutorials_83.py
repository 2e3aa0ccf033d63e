"""A generator and a discriminator of two layers each, for digits: every generated picture is 0.5 all over.

Fault: the deviation of the weights is `1 / shape[0]`, in whole numbers of Python 2: all weights are 0.
Repair (the asker): 1.0 / shape[0]. That is small still, the repaired form has 1 / sqrt(shape[0]). Digits of 8 by 8 in
place of those of 28 by 28, 128 units instead of 400, 800 steps instead of 100. The losses, -log of sigmoids, are
those of the repository. The program returns the chain of the generator and the discriminator; the discriminator is
compiled too.
"""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

URL = "https://github.com/nlintz/TensorFlow-Tutorials/issues/83"
YEAR = 2017
TOPIC = "generative adversarial networks"
CONFIRMED = "asker"
KINDS = ("weights: zero, equal or twins",)
VISIBLE = True
EVIDENCE = (
    "all weights of both networks are 0, every generated pixel is 0.5, and the gradient of all weights of the generator"
    " is exactly 0"
)
REPRODUCED = True
NOISE, UNITS, STEPS, BATCH = 100, 128, 800, 64


def digits():
    return (load_digits().data / 16).astype("float32")


def build(repaired):
    def dense(fan, units, activation):
        weights = keras.initializers.RandomNormal(stddev=fan**-0.5 if repaired else 1 // fan)
        return layers.Dense(units, activation, kernel_initializer=weights)

    generator = keras.Sequential(
        [keras.Input((NOISE,)), dense(NOISE, UNITS, "relu"), dense(UNITS, 64, "sigmoid")], name="generator"
    )
    discriminator = keras.Sequential(
        [keras.Input((64,)), dense(64, UNITS, "relu"), dense(UNITS, 1, "sigmoid")], name="discriminator"
    )
    discriminator.compile(keras.optimizers.Adam(0.001), "binary_crossentropy")
    discriminator.trainable = False
    model = keras.Sequential([keras.Input((NOISE,)), generator, discriminator])
    model.compile(keras.optimizers.Adam(0.001), "binary_crossentropy")
    x = np.random.default_rng(0).normal(size=(1797, NOISE)).astype("float32")
    return model, x, np.ones((1797, 1), "float32")


def train(model, x, y):
    rng = np.random.default_rng(1)
    generator, discriminator = model.layers
    real = digits()
    marks = np.repeat([[1.0], [0.0]], BATCH, 0).astype("float32")
    for _ in range(STEPS):
        discriminator.trainable = False
        model.train_on_batch(x[rng.integers(0, len(x), BATCH)], y[:BATCH])
        discriminator.trainable = True
        fake = generator.predict_on_batch(x[rng.integers(0, len(x), BATCH)])
        discriminator.train_on_batch(np.concatenate([real[rng.integers(0, len(real), BATCH)], fake]), marks)
    discriminator.trainable = False


def score(model, x, y):
    """How much nearer means and deviations of the generated pixels are to those of real ones than grey is."""
    real, fake = digits().astype("float64"), np.asarray(model.layers[0].predict(x, verbose=0), "float64")
    if not np.isfinite(fake).all():
        return 0.0
    distance = ((real.mean(0) - fake.mean(0)) ** 2 + (real.std(0) - fake.std(0)) ** 2).sum()
    grey = ((real.mean(0) - 0.5) ** 2 + real.var(0)).sum()
    return float(np.clip(1 - distance / grey, 0, 1))
