"""A GAN with minibatch discrimination learns a normal distribution of one dimension: its losses are inf and NaN.

Fault, as said: a unit matrix ("eps") is added to the distances of the examples in the minibatch layer.
Repair (a sufferer; the maintainer then took it out): no such matrix.
Network, losses, rates and sampling are those of the first commit; the model here has the loss of the discriminator,
with the real numbers and the noise as x; 600 steps of pretraining instead of 1000, 800 of training instead of 1200.
The repaired form has the same saturated sigmoid, so the cause that the report names is in doubt.
"""

import keras
import numpy as np

URL = "https://github.com/AYLIEN/gan-intro/issues/1"
YEAR = 2016
TOPIC = "generative adversarial networks"
CONFIRMED = "comments"
KINDS = ("loss: value or gradient not finite", "activation: saturated")
VISIBLE = True
EVIDENCE = "the last sigmoid gets values of 8 to 35 for all numbers, so that the loss is inf for 2 of 3 seeds"
REPRODUCED = False

BATCH, HIDDEN = 12, 4


def real_numbers(rng):
    return np.sort(rng.normal(4, 0.5, BATCH)).astype("float32")[:, None]


def noise_numbers(rng):
    return (np.linspace(-8, 8, BATCH) + rng.random(BATCH) * 0.01).astype("float32")[:, None]


def linear(units, deviation=1.0, activation=None):
    return keras.layers.Dense(units, activation, kernel_initializer=keras.initializers.RandomNormal(0.0, deviation))


class Minibatch(keras.layers.Layer):
    """Append to each example how close it is to the others of the batch."""

    def __init__(self, added):
        super().__init__()
        self.added, self.linear = added, linear(15, 0.02)

    def call(self, inputs):
        kernels = keras.ops.reshape(self.linear(inputs), (BATCH, 5, 3, 1))
        others = keras.ops.transpose(kernels, (3, 1, 2, 0))
        distances = keras.ops.sum(keras.ops.abs(kernels - others), axis=2)
        distances = distances + self.added * keras.ops.expand_dims(keras.ops.eye(BATCH), 1)
        return keras.ops.concatenate([inputs, keras.ops.sum(keras.ops.exp(-distances), axis=2)], axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] + 5)


def loss_of_both(y, outputs):
    """Return the loss of the discriminator; the outputs are those for real numbers and for made ones."""
    return keras.ops.mean(-keras.ops.log(outputs[:, 0]) - keras.ops.log(1 - outputs[:, 1]))


def loss_of_generator(y, outputs):
    return keras.ops.mean(-keras.ops.log(outputs))


def optimizer():
    return keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.005, 150, 0.95, staircase=True))


def build(repaired):
    generator = keras.Sequential([linear(HIDDEN, activation="softplus"), linear(1)], name="generator")
    layers = [linear(HIDDEN * 2, activation="tanh"), linear(HIDDEN * 2, activation="tanh")]
    layers += [Minibatch(0.0 if repaired else 1.0), linear(1, activation="sigmoid")]
    discriminator = keras.Sequential(layers, name="discriminator")
    real, noise = keras.Input(batch_shape=(BATCH, 1)), keras.Input(batch_shape=(BATCH, 1))
    outputs = keras.layers.Concatenate()([discriminator(real), discriminator(generator(noise))])
    generator.trainable = False
    model = keras.Model([real, noise], outputs)
    model.compile(optimizer(), loss_of_both)
    rng = np.random.default_rng(0)
    return model, [real_numbers(rng), noise_numbers(rng)], np.tile(np.float32([1, 0]), (BATCH, 1))


def train(model, x, y):
    rng = np.random.default_rng(1)
    generator, discriminator = model.get_layer("generator"), model.get_layer("discriminator")
    numbers, noise = keras.Input(batch_shape=(BATCH, 1)), keras.Input(batch_shape=(BATCH, 1))
    before = keras.Model(numbers, discriminator(numbers))
    before.compile(optimizer(), "mse")
    for _ in range(600):
        points = ((rng.random((BATCH, 1)) - 0.5) * 10).astype("float32")
        before.train_on_batch(points, np.exp(-(((points - 4) / 0.5) ** 2) / 2) / (0.5 * (2 * np.pi) ** 0.5))
    stacked = keras.Model(noise, discriminator(generator(noise)))
    stacked.compile(optimizer(), loss_of_generator)
    for _ in range(800):
        generator.trainable, discriminator.trainable = False, True
        model.train_on_batch([real_numbers(rng), noise_numbers(rng)], y)
        generator.trainable, discriminator.trainable = True, False
        loss = stacked.train_on_batch(noise_numbers(rng), y[:, :1])
        if not np.isfinite(loss):
            break
    generator.trainable, discriminator.trainable = False, True


def score(model, x, y):
    """Return how close the made numbers are to the real ones, from as far as the noise (0) to the same (1)."""
    rng = np.random.default_rng(2)
    noise = np.concatenate([noise_numbers(rng) for _ in range(50)])
    made = np.sort(np.asarray(model.get_layer("generator").predict(noise, batch_size=BATCH, verbose=0)), axis=None)
    real = np.sort(np.concatenate([real_numbers(rng) for _ in range(50)]), axis=None)
    return max(0.0, 1 - np.abs(made - real).mean() / 4) if np.isfinite(made).all() else 0.0
