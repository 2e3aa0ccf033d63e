"""Pictures of VOC are segmented by DeepLab with a residual network: the loss is NaN after 14 steps.

Fault: a rate of 0.001 (ten times as much for the kernels of the last layers, and twenty times for their biases).
Repair (the asker; confirmed by the maintainer): 0.0005. The repaired form also scales its inputs, which changes nothing
before a normalization. One block for each size instead of 33, an eighth of the channels, 4 classes instead of 21, drawn
pictures of 64 x 64 instead of 321 x 321, 120 steps instead of 2000. The weights are new instead of those of ImageNet;
the frozen statistics of the normalization are those of the pictures. The branch for classification is left out: by a
slip in the repository it only trains its own last layer.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/arslan-chaudhry/dcsp_segmentation/issues/1"
YEAR = 2017
TOPIC = "segmentation and detection"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "weights, signals, gradients and first loss are those of the repaired form; only the rate differs, by a"
    " factor of two."
    " Not reproduced: 0.99, 0.98, 0.97 against 0.94, 0.93, 0.91 (a small network bears the larger rate, and"
    " learns faster)"
)
REPRODUCED = False
CLASSES, SIZE, STEPS = 4, 64, 120
MEAN = np.array([104.00698793, 116.66876762, 122.67891434])


class Faster(layers.Layer):
    """A convolution with holes whose kernel learns ten times, and its biases twenty times as fast as others."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def build(self, shape):
        size = (3, 3, shape[-1], CLASSES)
        limit = (6 / (9 * (shape[-1] + CLASSES)) / 10) ** 0.5
        self.kernel = self.add_weight(
            shape=size, initializer=keras.initializers.RandomUniform(-limit, limit), name="kernel"
        )
        self.bias = self.add_weight(shape=(CLASSES,), initializer="zeros", name="bias")

    def call(self, inputs):
        outputs = ops.conv(inputs, 10**0.5 * self.kernel, padding="same", dilation_rate=self.rate)
        return outputs + 20**0.5 * self.bias


def normalized(x):
    return layers.BatchNormalization(momentum=0.5, epsilon=1e-5)(x)


def convolved(x, channels, size=1, **settings):
    return normalized(layers.Conv2D(channels, size, padding="same", use_bias=False, **settings)(x))


def bottleneck(x, channels, strides, rate):
    short = convolved(x, 4 * channels, strides=strides)
    hidden = ops.relu(convolved(x, channels, strides=strides))
    hidden = ops.relu(convolved(hidden, channels, 3, dilation_rate=rate))
    return ops.relu(short + convolved(hidden, 4 * channels))


def entropy(y_true, y_pred):
    return -ops.mean(ops.sum(y_true * ops.log_softmax(y_pred), -1))


def build(repaired):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x = rng.normal(100, 40, (120, SIZE, SIZE, 3))
    labels = np.zeros((120, SIZE, SIZE), int)
    for at in range(len(x)):
        kind, row, column, radius = rng.integers(1, CLASSES), *rng.integers(16, SIZE - 16, 2), rng.integers(10, 20)
        where = np.hypot(rows - row, columns - column) < radius
        labels[at][where] = kind
        x[at][where] += np.eye(3)[kind - 1] * 90
    x = (np.clip(x, 0, 255).round() - MEAN).astype("float32")
    if repaired:
        x /= 58
    inputs = keras.Input((SIZE, SIZE, 3))
    hidden = layers.MaxPooling2D(3, 2, padding="same")(ops.relu(convolved(inputs, 8, 7, strides=2)))
    for channels, strides, rate in ((8, 1, 1), (16, 2, 1), (32, 1, 2), (64, 1, 4)):
        hidden = bottleneck(hidden, channels, strides, rate)
    outputs = layers.Add()([Faster(rate)(hidden) for rate in (1, 2, 3, 4)])
    model = keras.Model(inputs, outputs)
    for _ in range(8):
        model(ops.convert_to_tensor(x), training=True)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    rate = keras.optimizers.schedules.PolynomialDecay(0.0005 if repaired else 0.001, STEPS, 0, 0.9)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), entropy)
    return model, x, np.eye(CLASSES, dtype="float32")[labels[:, 4::8, 4::8]]


def train(model, x, y):
    model.fit(x, y, batch_size=10, epochs=STEPS // 12, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
