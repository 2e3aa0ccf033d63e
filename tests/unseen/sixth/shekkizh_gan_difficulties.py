"""A generative adversarial network of faces by the rules of DCGAN: the generator does not get anywhere.

Fault: all weights are drawn from a normal distribution of a deviation of 0.2.
Repair (the person): a deviation of 0.02. 16 x 16 pixels, drawn by NumPy, instead of 64 x 64 faces of CelebA, so that
the generator starts at 1 x 1 instead of 4 x 4; a quarter of the filters; batches of 16 instead of 64; 20 rounds instead
of 15 epochs; the features' part of the generator's loss is scaled so that it has the weight that it has there. The
score compares the means and deviations of generated pictures along the main directions of the real ones, 0 for grey.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://shekkizh.github.io/posts/2017/01/generative-adversarial-network-difficulties/"
YEAR = 2017
TOPIC = "generative adversarial networks"
CONFIRMED = "person"
KINDS = ("weights: too large", "activation: saturated")
VISIBLE = True
EVIDENCE = (
    "the logits of the discriminator reach from -19 to 54 before any step (deviations of 10 and 16) and its loss is 17,"
    " against logits of at most 0.0004 and a loss of 1.39; in training mode, where the normalizations tame them, logits"
    " of a deviation of 1.9 against 0.19, and 17 percent of the generated values beyond 0.95 in size against none; not"
    " reproduced (0.00 in all against 0.00, 0.03 and 0.02): in the few rounds that fit, neither form learns, and one"
    " repaired run of 70 rounds reaches 0.01"
)
REPRODUCED = False
SIZE, NOISE, BATCH, STEPS = 16, 100, 16, 20


def normal(repaired):
    return keras.initializers.RandomNormal(stddev=0.02 if repaired else 0.2)


def norm(x):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def make_generator(repaired):
    inputs = keras.Input((NOISE,))
    x = layers.Dense(128, kernel_initializer=normal(repaired))(inputs)
    x = layers.ReLU()(norm(layers.Reshape((1, 1, 128))(x)))
    for filters in (64, 32, 16):
        x = layers.Conv2DTranspose(filters, 5, strides=2, padding="same", kernel_initializer=normal(repaired))(x)
        x = layers.ReLU()(norm(x))
    x = layers.Conv2DTranspose(3, 5, strides=2, padding="same", kernel_initializer=normal(repaired))(x)
    return keras.Model(inputs, layers.Activation("tanh")(x))


def make_discriminator(repaired):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(16, 5, strides=2, padding="same", kernel_initializer=normal(repaired))(inputs)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    for filters in (32, 64, 128):
        x = norm(layers.Conv2D(filters, 5, strides=2, padding="same", kernel_initializer=normal(repaired))(x))
        x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, [layers.Dense(1, kernel_initializer=normal(repaired))(x), x])


def faces(number=1000):
    """Return pictures from -1 to 1 of a face before a ground, each with colours, place and size of its own."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pictures = np.zeros((number, SIZE, SIZE, 3)) + rng.uniform(-1, 1, (number, 1, 1, 3))
    for picture in pictures:
        top, left = rng.normal(7.5, 0.7, 2)
        high, wide = rng.uniform(5.5, 7.5), rng.uniform(4, 5.5)
        inside = ((rows - top) / high) ** 2 + ((columns - left) / wide) ** 2 < 1
        picture[inside] = rng.uniform(0, 1) * np.array([0.6, 0.3, 0.1]) + np.array([0.2, 0.0, -0.2])
        for side in (-2, 2):
            picture[np.hypot(rows - top + 2, columns - left - side) < 1.2] = -0.8
        picture[(abs(rows - top - 3) < 0.8) & (abs(columns - left) < 2.5)] = (0.5, -0.5, -0.5)
    return np.clip(pictures, -1, 1).astype("float32")


def noise(rng, number):
    return rng.uniform(-1, 1, (number, NOISE)).astype("float32")


class Features(layers.Layer):
    """Adds the distance of the features of real and made pictures to the loss of the generator."""

    def call(self, inputs):
        outputs, real, made = inputs
        self.add_loss(0.1 * 64 * ops.mean(ops.square(real - made)))
        return outputs


def build(repaired):
    generator, discriminator = make_generator(repaired), make_discriminator(repaired)
    seen, made = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 3))
    model = keras.Model([seen, made], [discriminator(seen)[0], discriminator(made)[0]])
    cost = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), [cost, cost])
    model.parts = lambda: (generator, discriminator)
    real = faces()[:64]
    x = [real, ops.convert_to_numpy(generator(noise(np.random.default_rng(1), 64), training=True))]
    return model, x, [np.ones((64, 1), "float32"), np.zeros((64, 1), "float32")]


def train(model, x, y):
    generator, discriminator = model.parts()
    inputs, seen = keras.Input((NOISE,)), keras.Input((SIZE, SIZE, 3))
    logits, features = discriminator(generator(inputs))
    both = keras.Model([inputs, seen], Features()([logits, discriminator(seen)[1], features]))
    both.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), keras.losses.BinaryCrossentropy(from_logits=True))
    real, rng = faces(), np.random.default_rng(2)
    ones, zeros = np.ones((BATCH, 1), "float32"), np.zeros((BATCH, 1), "float32")
    weights = discriminator.trainable_variables
    for _ in range(STEPS):
        batch, random = real[rng.integers(0, len(real), BATCH)], noise(rng, BATCH)
        made = ops.convert_to_numpy(generator(random, training=True))
        model.train_on_batch([batch, made], [ones, zeros])
        for weight in weights:
            weight.trainable = False
        for _ in range(2):
            both.train_on_batch([random, batch], ones)
        for weight in weights:
            weight.trainable = True


def score(model, x, y):
    real = faces().reshape(1000, -1)
    made = model.parts()[0](noise(np.random.default_rng(3), 1000), training=True)
    made = ops.convert_to_numpy(made).reshape(1000, -1)
    if not np.isfinite(made).all():
        return 0.0
    directions = np.linalg.svd(real - real.mean(0), full_matrices=False)[2]
    spread = [((pictures - pictures.mean(0)) @ directions.T).std(0) for pictures in (real, made)]
    distance = np.sum((real.mean(0) - made.mean(0)) ** 2) + np.sum((spread[0] - spread[1]) ** 2)
    return float(np.clip(1 - distance / (np.sum(real.mean(0) ** 2) + np.sum(spread[0] ** 2)), 0, 1))
