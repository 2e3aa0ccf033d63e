"""A GAN for one Gaussian works with a mean of 4, but with a mean of 400 its generator loses the direction.

Fault (asker): the generator gets uniform noise instead of normal noise.
Repair (asker): normal noise. The data with a mean of 400 and a deviation of 1.25 go to the discriminator as they are,
a second, evident fault, so they are standardized in the repaired form too.
An example is a whole set of 100 numbers, to which the discriminator gets the squared distances from their mean.
"""

import keras
import numpy as np

URL = "https://github.com/devnag/pytorch-generative-adversarial-networks/issues/9"
YEAR = 2018
TOPIC = "generative adversarial networks"
CONFIRMED = "asker"
KINDS = ("inputs: other (wrong axis, all alike, no information)", "inputs: scale or offset")
VISIBLE = False
EVIDENCE = "the stacked model gets uniform noise from 0 to 1, no fault by itself; the data are not in its batch"
REPRODUCED = False

STEPS = 400


def dense(units, fan_in, activation=None):
    """Return a layer with PyTorch's default initializers."""
    bound = fan_in**-0.5
    return keras.layers.Dense(
        units,
        activation,
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
    )


class Decorate(keras.layers.Layer):
    """Append the squared distances from the mean, of which no gradient is taken."""

    def call(self, numbers):
        numbers = keras.ops.squeeze(numbers, -1)
        mean = keras.ops.stop_gradient(keras.ops.mean(numbers, -1, keepdims=True))
        return keras.ops.concatenate([numbers, (numbers - mean) ** 2], -1)


def build(repaired):
    rng = np.random.default_rng(0)
    generator = keras.Sequential(
        [keras.Input((100, 1)), dense(50, 1, "elu"), dense(50, 50, "sigmoid"), dense(1, 50)], name="generator"
    )
    discriminator = keras.Sequential(
        [keras.Input((100, 1)), Decorate(), dense(50, 200, "elu"), dense(50, 50, "elu"), dense(1, 50, "sigmoid")],
        name="discriminator",
    )
    discriminator.compile(keras.optimizers.Adam(0.0002), "binary_crossentropy")
    discriminator.trainable = False
    model = keras.Sequential([keras.Input((100, 1)), generator, discriminator])
    model.compile(keras.optimizers.Adam(0.0002), "binary_crossentropy")
    noise = rng.normal if repaired else rng.uniform
    x = noise(size=(STEPS, 100, 1)).astype("float32")
    model.data_of_program = (0.0, 1.0) if repaired else (400.0, 1.25)
    return model, x, np.ones((STEPS, 1), "float32")


def train(model, x, y):
    rng = np.random.default_rng(1)
    generator, discriminator = model.layers
    for step in range(STEPS):
        real = rng.normal(*model.data_of_program, (1, 100, 1)).astype("float32")
        fake = np.asarray(generator.predict_on_batch(x[step - 1 : step or None]))[:1]
        discriminator.trainable = True
        discriminator.train_on_batch(np.concatenate([real, fake]), np.array([[1.0], [0.0]], "float32"))
        discriminator.trainable = False
        model.train_on_batch(x[step : step + 1], y[step : step + 1])


def score(model, x, y):
    mean, deviation = model.data_of_program
    made = np.sort((np.asarray(model.layers[0].predict(x[:50], verbose=0)).ravel() - mean) / deviation)
    wanted = np.sort(np.random.default_rng(2).normal(size=made.size))
    return float(np.clip(1 - np.abs(made - wanted).mean() / np.abs(wanted).mean(), 0, 1))
