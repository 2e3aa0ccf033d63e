"""A GAN on drawn apples gives noise after 2000 steps with the whole data set and batches of 128.

Fault: the size of the batches and of the data set, by what the asker found.
Repair (asker): an extremely small data set (here 32 drawings) and small batches (5).
"""

import keras
import numpy as np
from _program import predictions
from sklearn.datasets import load_digits

URL = "https://github.com/the-deep-learners/deep-learning-illustrated/issues/2"
YEAR = 2019
TOPIC = "generative adversarial networks"
CONFIRMED = "asker"
KINDS = ("training: epochs, batches, order",)
VISIBLE = False
EVIDENCE = "none: only the number of examples and the size of the batches differ"
REPRODUCED = False


def build(repaired):
    generator = keras.Sequential(
        [
            keras.layers.Input((32,)),
            keras.layers.Dense(4 * 4 * 16),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Activation("relu"),
            keras.layers.Reshape((4, 4, 16)),
            keras.layers.Dropout(0.4),
            keras.layers.UpSampling2D(),
            keras.layers.Conv2DTranspose(8, 5, padding="same"),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Activation("relu"),
            keras.layers.Conv2D(1, 5, padding="same", activation="sigmoid"),
        ]
    )
    layers = [keras.layers.Input((8, 8, 1))]
    for filters, strides in ((8, 2), (16, 2), (32, 1)):
        layers.append(keras.layers.Conv2D(filters, 5, strides, padding="same", activation="relu"))
        layers.append(keras.layers.Dropout(0.4))
    discriminator = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")])
    discriminator.compile(optimizer=keras.optimizers.RMSprop(0.0008, clipvalue=1.0), loss="binary_crossentropy")
    model = keras.Sequential([keras.layers.Input((32,)), generator, discriminator])
    discriminator.trainable = False
    model.compile(optimizer=keras.optimizers.RMSprop(0.0004, clipvalue=1.0), loss="binary_crossentropy")
    model.batch = 5 if repaired else 128
    x = np.random.default_rng(0).uniform(-1, 1, (512, 32)).astype("float32")
    return model, x, np.ones((512, 1), "float32")


def drawings():
    images, labels = load_digits(return_X_y=True)
    return (images[labels == 0] / 16).reshape(-1, 8, 8, 1).astype("float32")


def train(model, x, y):
    generator, discriminator = model.layers
    rng, size = np.random.default_rng(0), model.batch
    real = drawings()[: 32 if size == 5 else None]
    targets = np.repeat(np.float32([[1], [0]]), size, 0)
    for _ in range(240):
        fake = np.asarray(generator.predict_on_batch(x[rng.integers(0, 512, size)]))
        batch = np.concatenate([real[rng.integers(0, len(real), size)], fake])
        discriminator.trainable = True
        discriminator.train_on_batch(batch, targets)
        discriminator.trainable = False
        model.train_on_batch(x[rng.integers(0, 512, size)], y[:size])


def score(model, x, y):
    """Compare means and deviations of the pixels with those of all drawings; an even gray scores 0."""
    real, fake = drawings(), predictions(model.layers[0], x)
    moments = [np.stack([images.mean(0) - 0.5, images.std(0)]) for images in (real, fake)]
    return float(np.clip(1 - np.sum((moments[1] - moments[0]) ** 2) / np.sum(moments[0] ** 2), 0, 1))
