"""A fully convolutional DenseNet for several classes of pixels: the loss does not converge.

Fault: it was stopped after 60 steps.
Repair (maintainer): longer training, as this network is hard to optimize.
"""

import keras
import numpy as np
from _program import accuracy
from keras import layers, ops

URL = "https://github.com/HasnainRaz/FC-DenseNet-TensorFlow/issues/7"
YEAR = 2018
TOPIC = "segmentation and detection"
CONFIRMED = "maintainer"
KINDS = ("training: epochs, batches, order",)
VISIBLE = False
EVIDENCE = "nothing in model or batch: only the number of steps is wrong"
REPRODUCED = True
SIDE, GROWTH = 32, 8


def layer(inputs, filters, kernel):
    hidden = layers.BatchNormalization(momentum=0.999, scale=False)(inputs)
    return layers.Dropout(0.2)(layers.Conv2D(filters, kernel, padding="same")(layers.ReLU()(hidden)))


def block(inputs, number):
    found = []
    for _ in range(number):
        found.append(layer(inputs, GROWTH, 3))
        inputs = layers.Concatenate()([found[-1], inputs])
    return layers.Concatenate()(found)


def build(repaired):
    rng = np.random.default_rng(0)
    y = np.zeros((160, SIDE, SIDE), "int32")
    for mask in y:
        for number in (1, 2):
            row, column = rng.integers(0, SIDE - 12, 2)
            mask[row : row + 12, column : column + 12] = number
    colours = np.array([[0.4, 0.45, 0.4], [0.5, 0.4, 0.4], [0.4, 0.4, 0.5]])
    x = np.clip(colours[y] + 0.15 * rng.normal(size=(160, SIDE, SIDE, 3)), 0, 1).astype("float32")
    inputs = layers.Input((SIDE, SIDE, 3))
    hidden, kept = layers.Conv2D(16, 3, padding="same")(inputs), []
    for number in (2, 3, 3):
        dense = block(hidden, number)
        if len(kept) < 2:
            hidden = layers.Concatenate()([hidden, dense])
            kept.append(hidden)
            hidden = layers.MaxPooling2D(4, 2, padding="same")(layer(hidden, hidden.shape[-1], 1))
    hidden = dense
    for number in (3, 3):
        hidden = layers.Conv2DTranspose(hidden.shape[-1], 3, strides=2, padding="same")(hidden)
        hidden = block(layers.Concatenate()([hidden, kept.pop()]), number)
    model = keras.Model(inputs, layers.Conv2D(3, 1)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.0001), loss=loss)
    model.epochs = 15 if repaired else 3
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=8, epochs=model.epochs, verbose=0)


def score(model, x, y):
    # As in the report, with the statistics of the batch: the moving ones are far behind in both forms.
    outputs = [ops.convert_to_numpy(ops.stop_gradient(model(x[i : i + 8], training=True))) for i in range(0, 160, 8)]
    return accuracy(np.concatenate(outputs), y)
