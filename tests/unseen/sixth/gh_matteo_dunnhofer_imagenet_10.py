"""AlexNet is trained on ImageNet in a loop of its own: after three epochs the loss is still at its first value.

Fault: a change to the loop divides the rate by 10 at every step, so that it is almost 0 (the asker's own finding).
Repair (the asker): it is divided only after many steps, here not at all. Pictures of 63 x 63 instead of 224 x 224,
ten classes instead of 1000, layers of an eighth of the width, with weights of 0.01 made larger for as much signal;
200 steps of 32 pictures instead of three epochs of 128.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/matteo-dunnhofer/imagenet/issues/10"
YEAR = 2018
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "person"
KINDS = ("optimizer: rate too small", "training: epochs, batches, order")
VISIBLE = False
EVIDENCE = (
    "weights, signals, gradients, first loss and the rate of the first step (0.001) are those of the repaired "
    "form; the rate falls in later steps"
)
REPRODUCED = True
COUNT, CLASSES, SIZE, STEPS = 640, 10, 63, 200


class Local(layers.Layer):
    """Divides by the power of neighboring channels, as TensorFlow's local response normalization."""

    def call(self, inputs):
        squares = ops.pad(ops.square(inputs), ((0, 0), (0, 0), (0, 0), (2, 2)))
        channels = inputs.shape[-1]
        power = sum(squares[..., at : at + channels] for at in range(5))
        return inputs / ops.power(1 + 2e-5 * power, 0.75)


def weights(fan_in, original):
    return {
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.01 * (original / fan_in) ** 0.5),
        "kernel_regularizer": keras.regularizers.L2(5e-4 / 2),
    }


def build(repaired):
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=COUNT)
    coarse = rng.normal(0, 40, (CLASSES, 7, 7, 3)).repeat(9, 1).repeat(9, 2)
    x = (115 + coarse[labels] + rng.normal(0, 40, (COUNT, SIZE, SIZE, 3))).clip(0, 255) - [123.68, 116.779, 103.939]

    def convolution(filters, size, bias, fan_in, original, strides=1):
        bias = keras.initializers.Constant(bias)
        return layers.Conv2D(
            filters, size, strides, "same", activation="relu", bias_initializer=bias, **weights(fan_in, original)
        )

    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            convolution(12, 11, 0, 363, 363, 4),
            Local(),
            layers.MaxPooling2D(3, 2),
            convolution(32, 5, 1, 25 * 12, 2400),
            Local(),
            layers.MaxPooling2D(3, 2),
            convolution(48, 3, 0, 9 * 32, 2304),
            convolution(48, 3, 1, 9 * 48, 3456),
            convolution(32, 3, 1, 9 * 48, 3456),
            layers.MaxPooling2D(3, 2),
            layers.Flatten(),
            layers.Dense(512, "relu", **weights(32, 9216)),
            layers.Dropout(0.5),
            layers.Dense(512, "relu", **weights(512, 4096)),
            layers.Dropout(0.5),
            layers.Dense(CLASSES, **weights(512, 4096)),
        ]
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9), loss)
    model.divided_after = None if repaired else 1
    return model, x.astype("float32"), np.eye(CLASSES, dtype="float32")[labels]


def train(model, x, y):
    rng = np.random.default_rng(1)
    for step in range(1, STEPS + 1):
        batch = rng.integers(len(x), size=32)
        model.train_on_batch(x[batch], y[batch])
        if model.divided_after and step % model.divided_after == 0:
            model.optimizer.learning_rate = float(model.optimizer.learning_rate) / 10


def score(model, x, y):
    return accuracy(predictions(model, x), y)
