"""A DCGAN on digits: the loss of the generator stays at 16, the largest value, after the first epoch.

Fault: the learning rate (0.001) lets the discriminator win at once.
Repair (maintainer and asker): a lower rate of the discriminator, 0.0001.
"""

import keras
import numpy as np
from _program import predictions
from sklearn.datasets import load_digits

URL = "https://github.com/tdeboissiere/DeepLearningImplementations/issues/11"
YEAR = 2017
TOPIC = "generative adversarial networks"
CONFIRMED = "asker"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = "none: 0.001 is an ordinary rate; the discriminator wins in later steps"
REPRODUCED = False


def build(repaired):
    generator = keras.Sequential(
        [
            keras.layers.Input((20,)),
            keras.layers.Dense(128),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("relu"),
            keras.layers.Reshape((4, 4, 8)),
            keras.layers.UpSampling2D(),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(1, 3, padding="same", activation="tanh"),
        ]
    )
    discriminator = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, 2, padding="same"),
            keras.layers.LeakyReLU(0.2),
            keras.layers.Conv2D(32, 3, 2, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.LeakyReLU(0.2),
            keras.layers.Flatten(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    rate = 1e-4 if repaired else 1e-3
    discriminator.compile(optimizer=keras.optimizers.Adam(rate, 0.5), loss="binary_crossentropy")
    model = keras.Sequential([keras.layers.Input((20,)), generator, discriminator])
    discriminator.trainable = False
    model.compile(optimizer=keras.optimizers.Adam(1e-3, 0.5), loss="binary_crossentropy")
    x = np.random.default_rng(0).normal(0, 0.5, (512, 20)).astype("float32")
    return model, x, np.tile(np.float32([0, 1]), (512, 1))


def digits():
    images, labels = load_digits(return_X_y=True)
    return (images[labels < 2] / 8 - 1).reshape(-1, 8, 8, 1).astype("float32")


def train(model, x, y):
    generator, discriminator = model.layers
    rng, real = np.random.default_rng(0), digits()
    targets = np.repeat(np.eye(2, dtype="float32"), 32, 0)
    for _ in range(240):
        z = x[rng.integers(0, 512, 32)]
        batch = np.concatenate([np.asarray(generator.predict_on_batch(z)), real[rng.integers(0, len(real), 32)]])
        discriminator.trainable = True
        discriminator.train_on_batch(batch, targets)
        discriminator.trainable = False
        model.train_on_batch(x[rng.integers(0, 512, 32)], y[:32])


def score(model, x, y):
    """Compare means and deviations of the pixels with those of real digits; an even gray scores 0."""
    real, fake = digits(), predictions(model.layers[0], x)
    moments = [np.stack([images.mean(0), images.std(0)]) for images in (real, fake)]
    return float(np.clip(1 - np.sum((moments[1] - moments[0]) ** 2) / np.sum(moments[0] ** 2), 0, 1))
