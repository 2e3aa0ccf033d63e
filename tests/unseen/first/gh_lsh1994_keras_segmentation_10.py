"""A U-Net with VGG blocks is trained on own masks: accuracy is near 1, and test images come out in one colour.

Fault: the masks are colour images of a palette; read as grey, they hold 38, 75 or 113, not class numbers.
The rows of such pixels have no class, since each of the 15 classes is compared with its number.
Repair (asker): masks with class numbers, as in the example data.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/lsh1994/keras-segmentation/issues/10"
YEAR = 2019
TOPIC = "segmentation and detection"
CONFIRMED = "asker"
KINDS = ("labels: form does not fit the loss or the output",)
VISIBLE = True
EVIDENCE = "52 % of the rows of labels are all zero, and all others are of class 0"
REPRODUCED = True


def build(repaired):
    """Return the compiled model, images less their mean, and rows of 15 classes for each pixel."""
    random = np.random.default_rng(0)
    classes = np.repeat(np.repeat(random.choice([0, 0, 0, 1, 2, 3], size=(96, 4, 4)), 8, 1), 8, 2)
    colors = np.array([[-60, -50, -60], [40, -60, 20], [-30, 60, 10], [50, 40, -70]])
    x = colors[classes] + random.normal(0, 40, size=(96, 32, 32, 3))
    grey = np.array([0, 38, 75, 113])
    rows = (classes if repaired else grey[classes])[..., None] == np.arange(15)

    def convolution(signal, filters):
        return keras.layers.Conv2D(filters, 3, padding="same")(signal)

    inputs = keras.Input((32, 32, 3))
    pools = [inputs]
    for filters in (8, 16, 16):
        pools.append(keras.layers.MaxPooling2D()(keras.layers.ReLU()(convolution(pools[-1], filters))))
    signal = pools[-1]
    for skip in (pools[2], pools[1], None):
        signal = keras.layers.UpSampling2D()(signal)
        signal = signal if skip is None else keras.layers.Concatenate()([skip, signal])
        signal = keras.layers.BatchNormalization()(convolution(signal, 16))
    signal = keras.layers.BatchNormalization()(keras.layers.Conv2D(15, 1, padding="same")(signal))
    signal = keras.layers.Reshape((-1, 15))(keras.layers.ReLU()(signal))
    model = keras.Model(inputs, keras.layers.Softmax()(signal))
    optimizer = keras.optimizers.Adadelta(1.0, rho=0.95, epsilon=1e-7)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    model.truth = classes.reshape(96, -1)
    return model, x.astype("float32"), rows.reshape(96, -1, 15).astype("float32")


def train(model, x, y):
    """Train for 20 epochs."""
    model.fit(x, y, batch_size=8, epochs=20, verbose=0)


def score(model, x, y):
    """Return how many of the true classes were found."""
    return accuracy(predictions(model, x), model.truth)
