"""People are marked in pictures with DeepLabV3+ and the dice loss: after a few epochs the loss stays at 0.67.

Fault: the list of the pictures is shuffled, that of the masks is not (these go to a wrong variable).
Repair (asker, whose change the maintainer took): both lists are shuffled alike.
The repository's network with few layers of 16 filters, no trained weights, and 0.001 instead of 0.0001 for Adam; 64
pictures of 32 by 32 pixels instead of 512 by 512.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/nikhilroxtomar/Human-Image-Segmentation-with-DeepLabV3Plus-in-TensorFlow/issues/1"
YEAR = 2021
TOPIC = "segmentation and detection"
CONFIRMED = "maintainer"
KINDS = ("labels: wrong or shifted",)
VISIBLE = False
EVIDENCE = (
    "pictures, masks, weights, signals and the first loss are those of the repaired form; only the pairs are wrong"
)
REPRODUCED = True
FILTERS = 16


def dice_loss(y_true, y_pred):
    smooth = 1e-15
    both = ops.sum(y_true * y_pred)
    return 1 - (2 * both + smooth) / (ops.sum(y_true) + ops.sum(y_pred) + smooth)


def normalized(x, size, **settings):
    x = layers.Conv2D(FILTERS, size, padding="same", use_bias=False, **settings)(x)
    return layers.Activation("relu")(layers.BatchNormalization()(x))


def squeezed(x):
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    dense = {"kernel_initializer": "he_normal", "use_bias": False}
    weights = layers.Dense(x.shape[-1] // 8, activation="relu", **dense)(weights)
    return layers.Multiply()([x, layers.Dense(x.shape[-1], activation="sigmoid", **dense)(weights)])


def build(repaired):
    rng = np.random.default_rng(0)
    count, size = 64, 32
    rows, columns = np.mgrid[:size, :size]
    x, y = rng.normal(0.35, 0.1, (count, size, size, 3)), np.zeros((count, size, size, 1), "float32")
    for picture, mask in zip(x, y, strict=True):
        row, column = rng.uniform(4, size - 4, 2)
        person = ((rows - row) / rng.uniform(5, 9)) ** 2 + ((columns - column) / rng.uniform(3, 6)) ** 2 < 1
        mask[person] = 1
        picture[person] += [0.3, 0.15, 0.1]
    x, order = x.clip(0, 1).astype("float32"), rng.permutation(count)
    x = x[order]
    if repaired:
        y = y[order]

    inputs = keras.Input((size, size, 3))
    near = normalized(inputs, 3, strides=2)
    far = normalized(near, 3, strides=2)
    side = far.shape[1]
    mean = layers.UpSampling2D(side, interpolation="bilinear")(normalized(layers.AveragePooling2D(side)(far), 1))
    far = layers.Concatenate()([mean, normalized(far, 1), *(normalized(far, 3, dilation_rate=rate) for rate in (2, 3))])
    far = layers.UpSampling2D(2, interpolation="bilinear")(normalized(far, 1))
    both = squeezed(layers.Concatenate()([far, normalized(near, 1)]))
    both = squeezed(normalized(both, 3))
    outputs = layers.Conv2D(1, 1)(layers.UpSampling2D(2, interpolation="bilinear")(both))
    model = keras.Model(inputs, layers.Activation("sigmoid")(outputs))
    model.compile(keras.optimizers.Adam(1e-3), dice_loss)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=2, epochs=6, shuffle=False, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x), y)
