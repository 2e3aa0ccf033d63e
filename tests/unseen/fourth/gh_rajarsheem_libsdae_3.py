"""A denoising autoencoder with one hidden layer, for digits: with cross-entropy the loss is soon not a number.

Fault: the decoder has no activation, and the loss takes the logarithm of its outputs.
Repair (the asker, "you are correct" by the maintainer): a sigmoid there. "Still not sensible weights" was said then;
other faults that are mended: the hidden layer is a softmax (said in the thread), the loss has no term for one minus
the output, the weights are drawn with a deviation of 1 for 784 inputs, and so are the offsets. Digits of 8 by 8 in
place of those of 28 by 28, 40 units instead of 100.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/rajarsheem/libsdae-autoencoder-tensorflow/issues/3"
YEAR = 2016
TOPIC = "autoencoders"
CONFIRMED = "maintainer"
KINDS = (
    "activation: missing or wrong",
    "loss: value or gradient not finite",
    "loss: sign or formula",
    "weights: too large",
)
VISIBLE = True
EVIDENCE = "42 % of the outputs are negative, and the first loss is NaN; weights and offsets are of 0.9"
REPRODUCED = True
UNITS = 40


class Tied(layers.Layer):
    """Decodes with the transposed weights of a dense layer and offsets of its own."""

    def __init__(self, encoder, activation, bias_initializer, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.activation = encoder, keras.activations.get(activation)
        self.bias_initializer = bias_initializer

    def build(self, shape):
        size = self.encoder.kernel.shape[0]
        self.bias = self.add_weight(shape=(size,), initializer=self.bias_initializer, name="bias")

    def call(self, inputs):
        return self.activation(ops.matmul(inputs, ops.transpose(self.encoder.kernel)) + self.bias)

    def compute_output_shape(self, shape):
        return (shape[0], self.encoder.kernel.shape[0])


def one_sided(y_true, y_pred):
    return -ops.mean(y_true * ops.log(y_pred), -1)


def build(repaired):
    def drawn():
        return keras.initializers.TruncatedNormal(stddev=1.0)

    weights = "glorot_normal" if repaired else drawn()
    biases = ["zeros" if repaired else drawn() for _ in range(2)]
    encoder = layers.Dense(
        UNITS, "sigmoid" if repaired else "softmax", kernel_initializer=weights, bias_initializer=biases[0]
    )
    inputs = keras.Input((64,))
    outputs = Tied(encoder, "sigmoid" if repaired else "linear", biases[1])(encoder(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.005), "binary_crossentropy" if repaired else one_sided)
    y = (load_digits().data / 16).astype("float32")
    x = y + np.random.default_rng(0).normal(0, 0.1, y.shape).astype("float32")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=100, epochs=50, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x) - y.mean(0), y - y.mean(0))
