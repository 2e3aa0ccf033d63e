"""A dilated network on top of VGG blocks is trained on the VOC classes: the loss is NaN from the start.

Fault: the mask files were corrupt, with any byte as class number; only 21 classes exist.
Repair (asker): the masks as they should be.
TensorFlow on a GPU gives NaN for such labels, where other backends stop with an error: the loss here gives NaN.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/nicolov/segmentation_keras/issues/26"
YEAR = 2017
TOPIC = "segmentation and detection"
CONFIRMED = "asker"
KINDS = ("labels: form does not fit the loss or the output", "loss: value or gradient not finite")
VISIBLE = True
EVIDENCE = "91 % of the labels of a batch are 21 or more, while the output has 21 classes; the loss is NaN"
REPRODUCED = True


def sparse(labels, outputs):
    """Return the cross-entropy of class numbers, NaN for classes that do not exist, as TensorFlow does."""
    labels = keras.ops.cast(labels, "int32")
    rows = keras.ops.cast(labels == keras.ops.arange(21), outputs.dtype)
    losses = keras.losses.categorical_crossentropy(rows, outputs)
    return keras.ops.where(labels[..., 0] < 21, losses, float("nan"))


def build(repaired):
    """Return the compiled model, images less their mean, and class numbers on a coarser grid."""
    random = np.random.default_rng(0)
    classes = np.repeat(np.repeat(random.choice([0, 0, 7, 12, 15], size=(120, 3, 3)), 2, 1), 2, 2)
    colors = random.uniform(-90, 90, size=(21, 3))
    x = np.repeat(np.repeat(colors[classes], 4, 1), 4, 2) + random.normal(0, 25, size=(120, 24, 24, 3))
    labels = classes if repaired else random.integers(0, 256, size=classes.shape)
    layers = [keras.Input((24, 24, 3))]
    for filters in (8, 16):
        layers.append(keras.layers.Conv2D(filters, 3, padding="same", activation="relu"))
        layers.append(keras.layers.MaxPooling2D())
    layers.append(keras.layers.Conv2D(32, 3, padding="same", dilation_rate=2, activation="relu"))
    layers.append(keras.layers.Dropout(0.5))
    layers.append(keras.layers.Conv2D(21, 1, activation="softmax"))
    model = keras.Sequential(layers)
    model.compile(optimizer=keras.optimizers.SGD(1e-4, momentum=0.9), loss=sparse)
    model.truth = classes
    return model, x.astype("float32"), labels[..., None].astype("float32")


def train(model, x, y):
    """Train with batches of one, as there, for 4 epochs."""
    model.fit(x, y, batch_size=1, epochs=4, verbose=0)


def score(model, x, y):
    """Return how many of the true classes were found."""
    return accuracy(predictions(model, x), model.truth)
