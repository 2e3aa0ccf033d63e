"""A factorization machine with a deep part (DeepFM) is to predict a number: the mean absolute error does not go down.

Fault: the program only knew classes then, with a sigmoid and the cross-entropy; the targets are numbers around 0.
Repair (maintainer, who added it to the program): no sigmoid, and half of the sum of squares as the loss.
Twenty columns instead of 100, and batches of 64 instead of 1024; the asker's target had nothing to do with the columns
(all were drawn), here it is their sum with a little noise. The rows are 1000 as the 100 would be learned by heart.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://github.com/ChenglongChen/tensorflow-DeepFM/issues/1"
YEAR = 2017
TOPIC = "regression on tables"
CONFIRMED = "maintainer"
KINDS = ("loss: wrong kind for the task", "targets: beyond the last activation")
VISIBLE = True
EVIDENCE = (
    "the targets go from -3.4 to 3.4, half of them below 0 and a sixth above 1, and the last layer is a sigmoid with "
    "the cross-entropy for 0 and 1; the scores were 0.36 to 0.38 against 0.72 to 0.77"
)
REPRODUCED = True
FIELDS, SIZE, DEEP = 20, 8, (32, 32)


def normal(scale):
    return keras.initializers.RandomNormal(stddev=scale)


class Machine(layers.Layer):
    """Terms of first and second order, and embeddings of the columns, each times the value of its column."""

    def build(self, shape):
        self.embeddings = self.add_weight((FIELDS, SIZE), normal(0.01), name="embeddings")
        self.biases = self.add_weight((FIELDS,), keras.initializers.RandomUniform(0, 1), name="biases")

    def call(self, values):
        embedded = values[:, :, None] * self.embeddings
        second = (ops.square(ops.sum(embedded, 1)) - ops.sum(ops.square(embedded), 1)) / 2
        return values * self.biases, second, ops.reshape(embedded, (-1, FIELDS * SIZE))


def log_loss(y_true, y_pred):
    return -ops.mean(y_true * ops.log(y_pred + 1e-7) + (1 - y_true) * ops.log(1 - y_pred + 1e-7))


def half_square(y_true, y_pred):
    return ops.sum(ops.square(y_true - y_pred)) / 2


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, FIELDS))
    weights = rng.normal(size=(FIELDS, 1))
    y = x @ weights / np.linalg.norm(weights) + 0.1 * rng.normal(size=(1000, 1))

    inputs = keras.Input((FIELDS,))
    first, second, deep = Machine()(inputs)
    deep = layers.Dropout(0.5)(deep)
    fan = FIELDS * SIZE
    for units in DEEP:
        scale = (2 / (fan + units)) ** 0.5
        deep = layers.Dense(
            units,
            kernel_initializer=normal(scale),
            bias_initializer=normal(scale),
            kernel_regularizer=keras.regularizers.L2(0.005),
        )(deep)
        deep = layers.BatchNormalization(momentum=0.995, epsilon=0.001)(deep)
        deep = layers.Dropout(0.5)(layers.Activation("relu")(deep))
        fan = units
    outputs = layers.Dense(
        1,
        activation=None if repaired else "sigmoid",
        kernel_initializer=normal((2 / (FIELDS + SIZE + DEEP[-1] + 1)) ** 0.5),
        bias_initializer=keras.initializers.Constant(0.01),
        kernel_regularizer=keras.regularizers.L2(0.005),
    )(layers.Concatenate()([first, second, deep]))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.001, epsilon=1e-8), half_square if repaired else log_loss)
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=64, epochs=30, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
