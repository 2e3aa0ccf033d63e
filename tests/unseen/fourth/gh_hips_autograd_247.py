"""A generator and a discriminator of two layers each, for digits: one and the same picture is generated.

Fault: the first activations are normalized over the batch, before the first nonlinearity, so that the discriminator
does not see the mean of its pictures.
Repair (a change that was merged): no normalization in the first layer, which leaves none in networks of this depth.
Other faults that are mended: weights and offsets of 0.001; the discriminator maximizes minus log sigmoid, which has
no bound, where the logarithm of one minus the probability is due; a rate of 0.01 for both, with the default momentum.
Digits of 8 by 8 in place of those of 28 by 28, 100 units instead of 200, 700 steps instead of 30 000, one after the
other instead of at once. As in the report the discriminator's output is for "generated", and sigmoid is 0.5 (tanh +
1). The program returns the chain of the generator and the discriminator; the discriminator is compiled too.
"""

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/HIPS/autograd/pull/247"
YEAR = 2017
TOPIC = "generative adversarial networks"
CONFIRMED = "maintainer"
KINDS = ("normalization: misused", "weights: too small", "loss: sign or formula")
VISIBLE = True
EVIDENCE = (
    "the generated pictures of a batch differ by 3e-6, the outputs of the discriminator by 1e-10; the gradient of the"
    " first weights of the generator is 5e-10 (3e-3 when repaired); all weights and offsets are of 0.001"
)
REPRODUCED = True
NOISE, UNITS, STEPS, BATCH = 10, 100, 700, 100


def digits():
    return (load_digits().data / 16).astype("float32")


class BatchNormalize(layers.Layer):
    """Takes the mean of a batch off and divides by its deviation plus one, in training and afterwards."""

    def call(self, inputs):
        means, deviations = ops.mean(inputs, 0, keepdims=True), ops.std(inputs, 0, keepdims=True)
        return (inputs - means) / (deviations + 1)


def without_bound(y_true, y_pred):
    """Logarithm of the probability "generated": least for real pictures, most for generated ones."""
    return ops.mean((1 - 2 * y_true) * ops.log_sigmoid(y_pred), -1)


def half_tanh(values):
    return 0.5 * (ops.tanh(values) + 1)


def build(repaired):
    def network(inputs, outputs, activation, name):
        kernels = [keras.initializers.RandomNormal(stddev=fan**-0.5 if repaired else 0.001) for fan in (inputs, UNITS)]
        biases = ["zeros" if repaired else keras.initializers.RandomNormal(stddev=0.001) for _ in range(2)]
        model = keras.Sequential(name=name)
        model.add(keras.Input((inputs,)))
        model.add(layers.Dense(UNITS, kernel_initializer=kernels[0], bias_initializer=biases[0]))
        if not repaired:
            model.add(BatchNormalize())
        model.add(layers.ReLU())
        model.add(layers.Dense(outputs, activation, kernel_initializer=kernels[1], bias_initializer=biases[1]))
        return model

    settings = (0.0005, 0.5) if repaired else (0.01, 0.9)
    loss = keras.losses.BinaryCrossentropy(from_logits=True) if repaired else without_bound
    generator, discriminator = network(NOISE, 64, half_tanh, "generator"), network(64, 1, None, "discriminator")
    discriminator.compile(keras.optimizers.Adam(*settings), loss)
    discriminator.trainable = False
    model = keras.Sequential([keras.Input((NOISE,)), generator, discriminator])
    model.compile(keras.optimizers.Adam(*settings), loss)
    x = np.random.default_rng(0).random((1800, NOISE)).astype("float32")
    return model, x, np.zeros((1800, 1), "float32")


def train(model, x, y):
    rng = np.random.default_rng(1)
    generator, discriminator = model.layers
    real = digits()
    inputs = [keras.Input((64,)), keras.Input((64,))]
    pair = keras.Model(inputs, layers.Concatenate()([discriminator(pictures) for pictures in inputs]))
    pair.compile(discriminator.optimizer, discriminator.loss)
    marks = np.repeat([[0.0, 1.0]], BATCH, 0).astype("float32")
    for _ in range(STEPS):
        discriminator.trainable = False
        model.train_on_batch(x[rng.integers(0, len(x), BATCH)], y[:BATCH])
        discriminator.trainable = True
        fake = generator.predict_on_batch(x[rng.integers(0, len(x), BATCH)])
        pair.train_on_batch([real[rng.integers(0, len(real), BATCH)], fake], marks)
    discriminator.trainable = False


def score(model, x, y):
    """How much nearer means and deviations of the generated pixels are to those of real ones than grey is."""
    real = digits().astype("float64")
    fake = np.asarray(model.layers[0].predict(x, batch_size=BATCH, verbose=0), "float64")
    if not np.isfinite(fake).all():
        return 0.0
    distance = ((real.mean(0) - fake.mean(0)) ** 2 + (real.std(0) - fake.std(0)) ** 2).sum()
    grey = ((real.mean(0) - 0.5) ** 2 + real.var(0)).sum()
    return float(np.clip(1 - distance / grey, 0, 1))
