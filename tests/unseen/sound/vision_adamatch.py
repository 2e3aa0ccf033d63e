"""Classes of one kind of picture carried over to another by AdaMatch with a wide ResNet.

After keras.io examples/vision/adamatch.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/adamatch/"


def convolution(x, filters, strides=1, size=3):
    return layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.l2(0.0005),
        use_bias=False,
    )(x)


def ready(x):
    return layers.Activation("relu")(layers.BatchNormalization()(x))


def wide_resnet(size=16, stages=(4, 8, 12, 16), blocks=4):
    inputs = keras.Input((size, size, 3))
    h = convolution(layers.Rescaling(scale=1.0 / 255)(inputs), stages[0])
    for stage, filters in enumerate(stages[1:]):
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            inner = ready(h)
            if h.shape[-1] != filters:
                h = convolution(inner, filters, strides, size=1)
            inner = convolution(ready(convolution(inner, filters, strides)), filters)
            h = layers.Add()([inner, h])
    h = layers.GlobalAveragePooling2D()(ready(h))
    return keras.Model(inputs, layers.Dense(10, kernel_regularizer=keras.regularizers.l2(0.0005))(h))


class AdaMatch(keras.Model):
    def __init__(self, network, tau=0.9):
        super().__init__()
        self.network, self.tau = network, tau
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, inputs, training=False):
        together = self.network(ops.concatenate(inputs, axis=0), training=training)
        half = together.shape[0] // 2 if together.shape[0] else ops.shape(together)[0] // 2
        source = self.network(ops.concatenate(inputs[:2], axis=0), training=False)
        share = keras.random.uniform(ops.shape(source), seed=self.seeds)
        mixed = share * together[:half] + (1 - share) * source
        return [mixed, together[half:]]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        source, target = y_pred
        count = ops.shape(y)[0]
        likely, guessed = ops.softmax(source[:count]), ops.softmax(target[:count])
        guessed = ops.normalize(guessed * (ops.mean(likely) / ops.mean(guessed)), axis=1)
        bar = self.tau * ops.mean(ops.max(likely, axis=-1))
        mask = ops.cast(ops.max(guessed, axis=-1) >= bar, "float32")
        loss = ops.categorical_crossentropy(ops.stop_gradient(guessed), target[count:], from_logits=True)
        known = ops.categorical_crossentropy(ops.concatenate([y, y]), source, from_logits=True)
        step = ops.cast(self.optimizer.iterations, "float32")
        weight = 0.5 - ops.cos(ops.minimum(np.pi, 2 * np.pi * step / 400)) / 2
        return 2 * ops.mean(known) + weight * ops.mean(loss * mask)


def build(count=96):
    source, y = pictures(10, 16, count=count)
    target, _ = pictures(10, 16, count=count, seed=1)
    target = np.clip(1 - 0.8 * target, 0, 1)
    rng = np.random.default_rng(0)
    views = [
        source,
        source * rng.uniform(0.7, 1.2, (count, 1, 1, 3)),
        target,
        target * rng.uniform(0.7, 1.2, (count, 1, 1, 3)),
    ]
    model = AdaMatch(wide_resnet())
    rate = keras.optimizers.schedules.CosineDecay(0.03, 400, alpha=0.25)
    model.compile(optimizer=keras.optimizers.Adam(rate))
    return model, [np.clip(v * 255, 0, 255).astype("float32") for v in views], np.eye(10, dtype="float32")[y]
