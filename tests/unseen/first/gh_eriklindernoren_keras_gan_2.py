"""A semi-supervised GAN: after the first step the discriminator, and with it the generator, gives NaN.

Fault: the weights of the classes (10 / 16 and 1 / 16) come from a division of integers (Python 2), so all are 0, and
the loss of the classes, which Keras 2 divided by the share of examples with a weight, is 0 / 0.
Repair (asker): true division.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from sklearn.datasets import load_digits

URL = "https://github.com/eriklindernoren/Keras-GAN/issues/2"
YEAR = 2017
TOPIC = "generative adversarial networks"
CONFIRMED = "asker"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = True
EVIDENCE = "the loss of the first batch is NaN"
REPRODUCED = True


def loss(weights):
    def both(y_true, y_pred):
        validity = keras.losses.binary_crossentropy(y_true[:, :1], y_pred[:, :1])
        each = keras.ops.matmul(y_true[:, 1:], keras.ops.convert_to_tensor(weights)[:, None])[:, 0]
        classes = keras.losses.categorical_crossentropy(y_true[:, 1:], y_pred[:, 1:]) * each
        counted = keras.ops.mean(keras.ops.cast(each != 0, "float32"))
        return 0.5 * keras.ops.mean(validity) + 0.5 * keras.ops.mean(classes) / counted

    return both


def build(repaired):
    digits, labels = load_digits(return_X_y=True)
    real, labels = (digits[:256] / 8 - 1).reshape(-1, 8, 8, 1), labels[:256]
    fake = np.tanh(np.random.default_rng(0).normal(0, 0.5, real.shape))
    x = np.concatenate([real, fake])
    y = np.eye(12)[np.concatenate([labels, np.full(256, 10)]) + 1]
    y[:256, 0] = 1
    order = np.random.default_rng(1).permutation(512)
    numbers = np.append(np.full(10, 10), 1)
    weights = (numbers / 16 if repaired else numbers // 16).astype("float32")
    inputs = keras.layers.Input((8, 8, 1))
    hidden = inputs
    for filters in (16, 32):
        hidden = keras.layers.Conv2D(filters, 3, 2, padding="same")(hidden)
        hidden = keras.layers.Dropout(0.25)(keras.layers.LeakyReLU(0.2)(hidden))
    hidden = keras.layers.Flatten()(keras.layers.BatchNormalization(momentum=0.8)(hidden))
    valid = keras.layers.Dense(1, activation="sigmoid")(hidden)
    label = keras.layers.Dense(11, activation="softmax")(hidden)
    model = keras.Model(inputs, keras.layers.Concatenate()([valid, label]))
    model.compile(optimizer=keras.optimizers.Adam(0.0002, 0.5), loss=loss(weights))
    return model, x[order].astype("float32"), y[order].astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=12, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN()])


def score(model, x, y):
    real = y[:, 0] == 1
    return accuracy(predictions(model, x[real])[:, 1:], y[real][:, 1:])
