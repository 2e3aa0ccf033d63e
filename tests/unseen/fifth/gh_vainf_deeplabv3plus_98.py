"""Pictures are segmented into several classes by DeepLabV3+: sometimes the probabilities are all zero.

Fault: a softmax before a loss that takes logits, and a loss that does not suit (the asker does not say which).
Repair (the asker, who checked it): no softmax, and the sum of Dice loss and cross-entropy (one of them works, too).
The faulty form has the cross-entropy of the repository after a softmax. A backbone of MobileNet's inverted blocks with
few channels and new weights instead of ImageNet's, and thus with the whole rate instead of a tenth of it; 32 channels
in the pyramid instead of 256; drawn pictures of 40 x 40 with three kinds of figures instead of crops of 513 x 513.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/VainF/DeepLabV3Plus-Pytorch/issues/98"
YEAR = 2023
TOPIC = "segmentation and detection"
CONFIRMED = "person"
KINDS = ("loss: probabilities and logits confused",)
VISIBLE = True
EVIDENCE = (
    "outputs are probabilities that sum to one, while the loss takes them as logits: it cannot fall below 0.74, and"
    " gradients are a fifth of the repaired form's (first kernel 0.06 to 0.08 against 0.3 to 0.4)"
)
REPRODUCED = True
CLASSES, SIZE, CHANNELS, EPOCHS = 4, 40, 32, 16


def entropy(y_true, y_pred):
    return -ops.mean(ops.sum(y_true * ops.log_softmax(y_pred), -1))


def dice_and_entropy(y_true, y_pred):
    shares = ops.softmax(y_pred)
    common = 2 * ops.sum(y_true * shares, (0, 1, 2)) + 1
    dice = 1 - ops.mean(common / (ops.sum(y_true, (0, 1, 2)) + ops.sum(shares, (0, 1, 2)) + 1))
    return dice + entropy(y_true, y_pred)


def block(x, channels, size=1, activation="relu", **settings):
    x = layers.Conv2D(channels, size, padding="same", use_bias=False, kernel_initializer="he_normal", **settings)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return layers.Activation(activation)(x) if activation else x


def inverted(x, channels, strides):
    hidden = block(x, 6 * x.shape[-1], activation="relu6")
    hidden = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False, depthwise_initializer="he_normal")(
        hidden
    )
    hidden = layers.Activation("relu6")(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(hidden))
    hidden = block(hidden, channels, activation=None)
    return layers.Add()([x, hidden]) if strides == 1 and channels == x.shape[-1] else hidden


def pictures(rng, count):
    """Return pictures of dark noise with bright figures on them, and the classes of their points."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x = rng.normal(90, 25, (count, SIZE, SIZE, 3))
    labels = np.zeros((count, SIZE, SIZE), int)
    for at in range(count):
        for kind in (1, 2, 3):
            row, column, radius = rng.integers(8, SIZE - 8), rng.integers(8, SIZE - 8), rng.integers(5, 10)
            across, down = np.abs(columns - column), np.abs(rows - row)
            distances = (np.maximum(across, down), across + down, np.hypot(across, down))
            where = distances[kind - 1] <= radius
            labels[at][where] = kind
            x[at][where] += [(70, 20, 0), (0, 70, 20), (20, 0, 70)][kind - 1]
    x = np.clip(x, 0, 255).round() / 255
    return (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], labels


def build(repaired):
    x, labels = pictures(np.random.default_rng(0), 128)
    inputs = keras.Input((SIZE, SIZE, 3))
    low = inverted(block(inputs, 16, 3, "relu6", strides=2), 16, 2)
    deep = inverted(inverted(inverted(low, 24, 2), 24, 1), 32, 1)
    branches = [block(deep, CHANNELS)]
    branches += [block(deep, CHANNELS, 3, dilation_rate=rate) for rate in (2, 3, 4)]
    mean = layers.GlobalAveragePooling2D(keepdims=True)(deep)
    branches.append(layers.UpSampling2D(SIZE // 8)(block(mean, CHANNELS)))
    deep = layers.Dropout(0.1)(block(layers.Concatenate()(branches), CHANNELS))
    deep = layers.UpSampling2D(2, interpolation="bilinear")(deep)
    hidden = block(layers.Concatenate()([block(low, 12), deep]), CHANNELS, 3)
    hidden = layers.Conv2D(CLASSES, 1, kernel_initializer="he_normal")(hidden)
    outputs = layers.UpSampling2D(4, interpolation="bilinear")(hidden)
    if not repaired:
        outputs = layers.Softmax()(outputs)
    model = keras.Model(inputs, outputs)
    rate = keras.optimizers.schedules.PolynomialDecay(0.01, EPOCHS * 8, 0, 0.9)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=1e-4)
    model.compile(optimizer, dice_and_entropy if repaired else entropy)
    return model, x.astype("float32"), np.eye(CLASSES, dtype="float32")[labels]


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=EPOCHS, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
