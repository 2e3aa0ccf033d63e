"""A ResNet18 without pretrained weights tells cats from dogs: the loss stays at 0.69.

Fault: too strong changes of the pictures: vertical flips, crops of 50 of 128 pixels, brightness, contrast and hue.
Repair (asker): none of them, only the size and the normalization.
The optimizer is not told: Adam with 0.001. 48 by 48 pixels (crops of 19), a sixth of the filters, drawn heads.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = (
    "https://www.mo4tech.com/image-classification-record-a-sinkhole-binary-classification-network-using-"
    "crossentropyloss-loss-has-been-at-0-69-do-not-converge-problem.html"
)
YEAR = 2021
TOPIC = "image classification"
CONFIRMED = "asker"
KINDS = ("regularization: too strong (dropout, penalties)",)
VISIBLE = False
EVIDENCE = (
    "the changes are layers of the model, but each is done on purpose elsewhere; crops have a sixth of the picture"
)
REPRODUCED = True
SIZE, CROP = 48, 19


class Changes(layers.Layer):
    """Random flips, crops and colors in training, the crop of the middle else, and the normalization."""

    def __init__(self, active, **kwargs):
        super().__init__(**kwargs)
        self.active, self.seeds = active, keras.random.SeedGenerator()

    def call(self, x, training=False):
        if self.active:
            count = ops.shape(x)[0]
            if training:
                drawn = keras.random.uniform((6, count, 1, 1, 1), seed=self.seeds)
                x = ops.where(drawn[0] < 0.5, ops.flip(x, axis=1), x)
                starts = ops.cast(drawn[1:3, :, 0, 0, 0] * (SIZE - CROP + 1), "int32")
                x = x * (0.5 + drawn[3])
                mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
                x = mean + (x - mean) * (0.5 + drawn[4])
                # A turn of the hue by up to half a circle: a rotation about the grey axis.
                angle = 2 * np.pi * (drawn[5] - 0.5)
                grey = ops.mean(x, axis=-1, keepdims=True)
                cross = (ops.roll(x, 1, axis=-1) - ops.roll(x, -1, axis=-1)) / 3**0.5
                x = ops.clip(grey + (x - grey) * ops.cos(angle) + cross * ops.sin(angle), 0, 1)
            else:
                starts = ops.full((2, count), (SIZE - CROP) // 2, dtype="int32")
            rows, columns = ops.unstack(ops.one_hot(starts[..., None] + ops.arange(CROP), SIZE), 2)
            x = ops.einsum("brh,bhwc,bkw->brkc", rows, x, columns)
        return (x - 0.5) / 0.5

    def compute_output_shape(self, shape):
        return (shape[0], CROP, CROP, 3) if self.active else shape


def pictures(rng, count):
    """Return heads at any place, cats with pointed ears above it and dogs with long ears beside it, and the classes."""
    y = np.arange(count) % 2
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x = np.empty((count, SIZE, SIZE, 3))
    for number, dog in enumerate(y):
        radius = rng.uniform(8, 12)
        row, column = rng.uniform(19, 31, 2)
        down, across = (rows - row) / radius, np.abs(columns - column) / radius
        ears = (across - 1) ** 2 / 0.12 + (down - 0.1) ** 2 / 0.6 < 1
        if not dog:
            ears = (np.abs(across - 0.6) < 0.35 * (down + 1.7)) & (down < -0.3)
        colors = rng.random((2, 3))
        x[number] = colors[0] + 0.1 * rng.normal(size=(SIZE, SIZE, 1))
        x[number][(down**2 + across**2 < 1) | ears] = colors[1]
    return np.clip(x, 0, 1).astype("float32"), y


def block(flow, filters, stride):
    other = flow
    for strides, relu in ((stride, True), (1, False)):
        flow = layers.Conv2D(
            filters, 3, strides, padding="same", use_bias=False, kernel_initializer=keras.initializers.HeNormal()
        )(flow)
        flow = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(flow)
        flow = layers.ReLU()(flow) if relu else flow
    if stride > 1:
        other = layers.Conv2D(filters, 1, stride, use_bias=False, kernel_initializer="he_normal")(other)
        other = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(other)
    return layers.ReLU()(flow + other)


def build(repaired):
    x, y = pictures(np.random.default_rng(0), 300)
    inputs = keras.Input((SIZE, SIZE, 3))
    flow = Changes(active=not repaired)(inputs)
    flow = layers.Conv2D(10, 7, 2, padding="same", use_bias=False, kernel_initializer="he_normal")(flow)
    flow = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(flow))
    flow = layers.MaxPooling2D(3, 2, padding="same")(flow)
    for number, filters in enumerate((10, 20, 40, 80)):
        flow = block(block(flow, filters, 2 if number else 1), filters, 1)
    weights, biases = (keras.initializers.RandomUniform(-(80**-0.5), 80**-0.5) for _ in range(2))
    outputs = layers.Dense(2, kernel_initializer=weights, bias_initializer=biases)(
        layers.GlobalAveragePooling2D()(flow)
    )
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.001), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=30, epochs=10, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
