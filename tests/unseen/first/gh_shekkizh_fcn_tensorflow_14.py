"""A fully convolutional network labels the pixels of one's own gray pictures: the loss is not a number from the start.

Fault: the annotation pictures hold values beyond the number of classes set in the program; the cross-entropy for class
numbers gave NaN for such a label on the graphics card.
Repair (maintainer): number the annotation values from 0 to the number of classes less 1.
The loss below gives NaN for these labels, as that of TensorFlow did. The trained VGG part is shrunk to three layers.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/shekkizh/FCN.tensorflow/issues/14"
YEAR = 2017
TOPIC = "image classification"
CONFIRMED = "maintainer"
KINDS = ("labels: form does not fit the loss or the output",)
VISIBLE = True
EVIDENCE = "Annotation values 0, 128 and 255 for 3 outputs; the first loss is already NaN."
REPRODUCED = True

CLASSES = 3


def pixel_crossentropy(y_true, y_pred):
    labels = keras.ops.cast(y_true, "int32")
    chosen = keras.ops.one_hot(keras.ops.clip(labels, 0, CLASSES - 1), CLASSES)
    losses = -keras.ops.sum(chosen * keras.ops.log_softmax(y_pred), axis=-1)
    return losses * keras.ops.where(labels < CLASSES, 1.0, float("nan"))


def build(repaired):
    rng = np.random.default_rng(0)
    y = np.zeros((60, 24, 24), "int32")
    for annotation in y:
        for value in (128, 255):
            row, column = rng.integers(0, 15, 2)
            annotation[row : row + 9, column : column + 9] = value
    x = (y * 0.4 + rng.normal(80, 15, y.shape)).clip(0, 255)[..., None].astype("float32")
    x -= x.mean()
    if repaired:
        y = np.searchsorted([0, 128, 255], y).astype("int32")

    inputs = keras.Input((24, 24, 1))
    hidden = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    hidden = keras.layers.MaxPooling2D()(hidden)
    hidden = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(hidden)
    hidden = keras.layers.Conv2D(32, 1, activation="relu")(hidden)
    outputs = keras.layers.Conv2DTranspose(CLASSES, 4, strides=2, padding="same")(hidden)
    model = keras.Model(inputs, outputs)
    model.compile(loss=pixel_crossentropy, optimizer=keras.optimizers.Adam(0.001))
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=2, epochs=10, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), np.searchsorted(np.unique(y), y))
