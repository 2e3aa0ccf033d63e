"""A fully convolutional network is to mark one thing in one's own pictures: the loss is not a number with 2 classes.

Fault: the annotations hold 1 and 2, but the number of classes is 2; the loss gave NaN for numbers beyond the outputs.
Repair (comments, and the maintainer in issue 22): the annotations are numbered from 0.
With 3 or 151 outputs the asker's program went. The loss below gives NaN as that of TensorFlow did on a graphics card;
the trained VGG part is four narrow layers.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/shekkizh/FCN.tensorflow/issues/17"
YEAR = 2017
TOPIC = "several labels or rare classes"
CONFIRMED = "comments"
KINDS = ("labels: form does not fit the loss or the output",)
VISIBLE = True
EVIDENCE = "the labels are 1 and 2 for outputs 0 and 1 (10 % are 2); the first loss is NaN"
REPRODUCED = True
CLASSES = 2


def entropy_of_pixels(y_true, y_pred):
    labels = ops.cast(y_true[..., 0], "int32")
    known = ops.equal(labels[..., None], ops.arange(CLASSES))
    losses = -ops.sum(ops.cast(known, "float32") * ops.log_softmax(y_pred), -1)
    return ops.mean(ops.where(ops.any(known, -1), losses, float("nan")))


def build(repaired):
    rng = np.random.default_rng(0)
    y = np.ones((80, 32, 32, 1), "int32")
    for annotation in y:
        row, column = rng.integers(0, 20, 2)
        annotation[row : row + rng.integers(8, 13), column : column + rng.integers(8, 13)] = 2
    colours = np.array([[90, 110, 80], [150, 90, 120]])
    x = (colours[y[..., 0] - 1] + rng.normal(0, 25, (80, 32, 32, 3))).clip(0, 255) - [123.7, 116.8, 103.9]
    if repaired:
        y = y - 1
    inputs = keras.Input((32, 32, 3))
    trained = keras.initializers.VarianceScaling(2 / 50**2, "fan_in")
    near = layers.Conv2D(16, 3, padding="same", activation="relu", kernel_initializer=trained)(inputs)
    near = layers.Conv2D(32, 3, padding="same", activation="relu", kernel_initializer="he_normal")(
        layers.AveragePooling2D(2)(near)
    )
    weights = keras.initializers.TruncatedNormal(stddev=0.02)
    far = layers.Conv2D(64, 3, padding="same", activation="relu", kernel_initializer="he_normal")(
        layers.AveragePooling2D(2)(near)
    )
    far = layers.Dropout(0.15)(layers.Conv2D(128, 1, activation="relu", kernel_initializer=weights)(far))
    far = layers.Conv2D(CLASSES, 1, kernel_initializer=weights)(far)
    back = layers.Conv2DTranspose(32, 4, 2, "same", kernel_initializer=weights)(far)
    outputs = layers.Conv2DTranspose(CLASSES, 4, 2, "same", kernel_initializer=weights)(layers.Add()([back, near]))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-4), entropy_of_pixels)
    return model, x.astype("float32"), y


def train(model, x, y):
    model.fit(x, y, batch_size=2, epochs=6, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y - y.min())
