"""Persons are generated from poses: the loss of the discriminator goes to 0.001, that of the generator to 5 and more.

Fault: the backgrounds of the real and the generated images were left in, by which the discriminator tells them apart.
Repair (maintainer and asker): both are masked by the person.
"""

import keras
import numpy as np
from _program import predictions, separated

URL = "https://github.com/BadourAlBahar/pose-with-style/issues/23"
YEAR = 2022
TOPIC = "generative adversarial networks"
CONFIRMED = "asker"
KINDS = ("inputs: other (wrong axis, all alike, no information)",)
VISIBLE = False
EVIDENCE = "none: backgrounds are ordinary in images, and the discriminator wins in later steps"
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    pose = np.zeros((384, 8, 8, 1))
    for image in pose:
        top, left, width = rng.integers(0, 3), rng.integers(0, 5), rng.integers(2, 4)
        image[top : top + 5, left : left + width] = 1
    person = pose * (0.3 + 0.5 * np.linspace(0, 1, 8)[:, None, None])
    # Backgrounds: smooth slopes of any direction, as of rooms and streets.
    rows, columns = np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 8), indexing="ij")
    slopes = rng.uniform(-0.6, 0.6, (384, 2))
    ground = (slopes[:, :1, None] * rows + slopes[:, 1:, None] * columns)[..., None] + rng.normal(0, 0.1, pose.shape)
    real = person if repaired else person + ground * (1 - pose)
    inputs = keras.layers.Input((8, 8, 1))
    hidden = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    hidden = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(hidden)
    image = keras.layers.Conv2D(1, 3, padding="same", activation="tanh")(hidden)
    if repaired:
        image = keras.layers.Multiply()([image, inputs])
    generator = keras.Model(inputs, image)
    discriminator = keras.Sequential(
        [
            keras.layers.Input((8, 8, 2)),
            keras.layers.Conv2D(16, 3, 2, padding="same"),
            keras.layers.LeakyReLU(0.2),
            keras.layers.Conv2D(32, 3, 2, padding="same"),
            keras.layers.LeakyReLU(0.2),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    discriminator.compile(optimizer=keras.optimizers.Adam(0.002, 0.5), loss="binary_crossentropy")
    judged = discriminator(keras.layers.Concatenate()([inputs, generator(inputs)]))
    model = keras.Model(inputs, judged)
    discriminator.trainable = False
    model.compile(optimizer=keras.optimizers.Adam(0.002, 0.5), loss="binary_crossentropy")
    model.real = real.astype("float32")
    return model, pose.astype("float32"), np.ones((384, 1), "float32")


def train(model, x, y):
    generator, discriminator = model.layers[1], model.layers[-1]
    rng = np.random.default_rng(0)
    targets = np.repeat(np.float32([[1], [0]]), 32, 0)
    for _ in range(80):
        chosen = rng.integers(0, 384, 32)
        fake = np.asarray(generator.predict_on_batch(x[chosen]))
        batch = np.concatenate([np.tile(x[chosen], (2, 1, 1, 1)), np.concatenate([model.real[chosen], fake])], -1)
        discriminator.trainable = True
        discriminator.train_on_batch(batch, targets)
        discriminator.trainable = False
        model.train_on_batch(x[rng.integers(0, 384, 32)], y[:32])


def score(model, x, y):
    """Tell how far the discriminator is from telling all real images from generated ones."""
    generator, discriminator = model.layers[1], model.layers[-1]
    images = np.concatenate([model.real, predictions(generator, x)])
    outputs = predictions(discriminator, np.concatenate([np.tile(x, (2, 1, 1, 1)), images], -1))
    return 1 - separated(outputs, np.repeat([1, 0], len(x)))
