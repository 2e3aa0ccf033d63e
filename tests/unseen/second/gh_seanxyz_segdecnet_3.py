"""A network for cracks in surfaces, by mean squared error, detects barely any: nearly all parts are called good.

Fault: every second batch of the segmentation has parts without a crack, so that there is even less to find than in
the others.
Repair (a second user with the same behaviour, who got it working): the segmentation is trained on parts with cracks
only.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers

URL = "https://github.com/seanXYZ/SegDecNet/issues/3"
YEAR = 2019
TOPIC = "segmentation and detection"
CONFIRMED = "asker"
KINDS = ("classes: rare",)
VISIBLE = False
EVIDENCE = (
    "1.9 % of the pixels of the masks are defects (3.9 % in the repaired form), none in every second batch: "
    "usual for defects"
)
REPRODUCED = False
HEIGHT, WIDTH, STEPS = 96, 48, 300


def parts(number, cracked, seed):
    rng = np.random.default_rng(seed)
    images = 0.5 + 0.1 * rng.normal(size=(number, HEIGHT, WIDTH)) + 0.1 * rng.normal(size=(number, 1, WIDTH))
    masks = np.zeros((number, HEIGHT, WIDTH))
    for image, mask in zip(images[:cracked], masks[:cracked], strict=True):
        row, column = rng.integers(16, HEIGHT - 16), rng.integers(8, WIDTH - 24)
        for step in range(rng.integers(8, 16)):
            row = row + rng.integers(-1, 2)
            image[row : row + 2, column + step] -= 0.2
            mask[row - 1 : row + 3, column + step - 1 : column + step + 2] = 1
    masks = masks.reshape(number, HEIGHT // 8, 8, WIDTH // 8, 8).mean((2, 4))
    return np.repeat(np.clip(images, 0, 1)[..., None], 3, -1).astype("float32"), masks[..., None].astype("float32")


def build(repaired):
    x, y = parts(30, 30, 0)
    if not repaired:
        good, empty = parts(30, 0, 1)
        order = np.arange(60).reshape(2, 15, 2).swapaxes(0, 1).ravel()
        x, y = np.concatenate([good, x])[order], np.concatenate([empty, y])[order]
    weights = keras.initializers.RandomNormal(stddev=0.02)
    model = keras.Sequential([layers.Input((HEIGHT, WIDTH, 3))])
    for filters, times, kernel in ((8, 2, 5), (16, 3, 5), (16, 4, 5), (64, 1, 7)):
        for _ in range(times):
            model.add(layers.Conv2D(filters, kernel, padding="same", kernel_initializer=weights))
            gamma = keras.initializers.RandomNormal(mean=1, stddev=0.02)
            model.add(layers.BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=gamma))
            model.add(layers.ReLU())
        if filters < 64:
            model.add(layers.MaxPooling2D())
    model.add(layers.Conv2D(1, 1, activation="relu", kernel_initializer=weights))
    model.compile(keras.optimizers.Adam(0.001, beta_1=0.5), loss="mse")
    return model, x, y


def train(model, x, y):
    for step in range(STEPS):
        start = step * 2 % len(x)
        model.train_on_batch(x[start : start + 2], y[start : start + 2])


def score(model, x, y):
    images, masks = parts(60, 30, 2)
    return separated(predictions(model, images), masks > 0.1)
