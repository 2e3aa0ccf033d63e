"""A variational autoencoder for digits: the cost is not a number.

Fault: the last activation is tanh, so that half of the outputs are negative, and the loss takes their logarithm.
Repair (the asker, who checked it; taken over by the maintainer): a sigmoid. Digits of 8 by 8 in place of those of 28
by 28; 128 units instead of 2048, with weights of 0.04 instead of 0.01 for as much signal; 8 hidden numbers instead of
2, so that a score can be seen. The repaired form has larger weights, as the signal vanishes over the six layers with
these.
"""

import keras
from _program import explained, predictions
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/pkmital/tensorflow_tutorials/issues/23"
YEAR = 2016
TOPIC = "autoencoders"
CONFIRMED = "maintainer"
KINDS = ("activation: missing or wrong", "loss: value or gradient not finite")
VISIBLE = True
EVIDENCE = "half of the outputs are negative, and the first loss is NaN"
REPRODUCED = True
UNITS, HIDDEN = 128, 8


class Sampling(layers.Layer):
    """Draws the hidden numbers and adds their divergence from a normal distribution to the loss."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs):
        mean, log_sigma = inputs
        divergence = -0.5 * ops.sum(1 + 2 * log_sigma - ops.square(mean) - ops.exp(2 * log_sigma), 1)
        self.add_loss(ops.mean(divergence))
        return mean + ops.exp(log_sigma) * keras.random.normal(ops.shape(mean), seed=self.seed_generator)


def entropy(y_true, y_pred):
    return -ops.sum(y_true * ops.log(y_pred + 1e-10) + (1 - y_true) * ops.log(1 - y_pred + 1e-10), 1)


def build(repaired):
    def dense(units, activation=None):
        weights = "he_normal" if repaired else keras.initializers.RandomNormal(stddev=0.04)
        biases = keras.initializers.RandomNormal(stddev=0.01)
        return layers.Dense(units, activation, kernel_initializer=weights, bias_initializer=biases)

    inputs = keras.Input((64,))
    hidden = inputs
    for _ in range(3):
        hidden = dense(UNITS, "softplus")(hidden)
    hidden = Sampling()([dense(HIDDEN)(hidden), layers.Rescaling(0.5)(dense(HIDDEN)(hidden))])
    for _ in range(3):
        hidden = dense(UNITS, "softplus")(hidden)
    model = keras.Model(inputs, dense(64, "sigmoid" if repaired else "tanh")(hidden))
    model.compile(keras.optimizers.Adam(0.001), entropy)
    x = (load_digits().data / 16).astype("float32")
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=100, epochs=40, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x) - y.mean(0), y - y.mean(0))
