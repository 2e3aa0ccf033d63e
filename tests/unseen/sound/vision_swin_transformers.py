"""Pictures by a Swin Transformer, attention in shifted windows, after keras.io examples/vision/swin_transformers.py."""

import keras
import numpy as np
from _shared import Places, pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/swin_transformers/"


WINDOW = 2


def windows(x):
    _, rows, columns, width = x.shape
    x = ops.reshape(x, (-1, rows // WINDOW, WINDOW, columns // WINDOW, WINDOW, width))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, WINDOW * WINDOW, width))


def joined(x, rows, columns):
    x = ops.reshape(x, (-1, rows // WINDOW, columns // WINDOW, WINDOW, WINDOW, x.shape[-1]))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows, columns, x.shape[-1]))


class Swin(layers.Layer):
    def __init__(self, width, side, heads, shift, rate=0.03):
        super().__init__()
        self.side, self.heads, self.shift = side, heads, shift
        self.norms = [layers.LayerNormalization(epsilon=1e-5) for _ in range(2)]
        self.qkv, self.project = layers.Dense(3 * width), layers.Dense(width)
        self.drop = layers.Dropout(rate)
        self.dense = keras.Sequential(
            [
                layers.Dense(4 * width, activation="gelu"),
                layers.Dropout(rate),
                layers.Dense(width),
                layers.Dropout(rate),
            ]
        )
        place = np.stack(np.meshgrid(range(WINDOW), range(WINDOW), indexing="ij")).reshape(2, -1)
        apart = place[:, :, None] - place[:, None] + WINDOW - 1
        self.index = (apart[0] * (2 * WINDOW - 1) + apart[1]).reshape(-1)
        self.mask = None
        if shift:
            parts = [slice(0, -WINDOW), slice(-WINDOW, -shift), slice(-shift, None)]
            regions = np.zeros((side, side))
            for i, a in enumerate(parts):
                for j, b in enumerate(parts):
                    regions[a, b] = 3 * i + j
            regions = regions.reshape(side // WINDOW, WINDOW, side // WINDOW, WINDOW).transpose(0, 2, 1, 3)
            regions = regions.reshape(-1, WINDOW * WINDOW)
            self.mask = np.where(regions[:, None] == regions[:, :, None], 0.0, -100.0).astype("float32")

    def build(self, shape):
        self.bias = self.add_weight(((2 * WINDOW - 1) ** 2, self.heads), initializer="zeros", name="relative")

    def call(self, x, training=False):
        width = x.shape[-1]
        h = ops.reshape(self.norms[0](x), (-1, self.side, self.side, width))
        h = windows(ops.roll(h, (-self.shift, -self.shift), (1, 2)) if self.shift else h)
        count = WINDOW * WINDOW
        qkv = ops.transpose(ops.reshape(self.qkv(h), (-1, count, 3, self.heads, width // self.heads)), (2, 0, 3, 1, 4))
        scores = ops.matmul(qkv[0] * (width // self.heads) ** -0.5, ops.transpose(qkv[1], (0, 1, 3, 2)))
        bias = ops.reshape(ops.take(self.bias, self.index, axis=0), (count, count, self.heads))
        scores = scores + ops.transpose(bias, (2, 0, 1))[None]
        if self.mask is not None:
            scores = ops.reshape(scores, (-1, len(self.mask), self.heads, count, count))
            scores = ops.reshape(ops.add(scores, self.mask[None, :, None]), (-1, self.heads, count, count))
        h = ops.matmul(self.drop(ops.softmax(scores), training=training), qkv[2])
        h = self.drop(self.project(ops.reshape(ops.transpose(h, (0, 2, 1, 3)), (-1, count, width))), training=training)
        h = joined(h, self.side, self.side)
        h = ops.roll(h, (self.shift, self.shift), (1, 2)) if self.shift else h
        x = x + ops.reshape(h, (-1, self.side**2, width))
        return x + self.dense(self.norms[1](x), training=training)


class Merging(layers.Layer):
    def __init__(self, side, width):
        super().__init__()
        self.side, self.dense = side, layers.Dense(2 * width, use_bias=False)

    def call(self, x):
        x = ops.reshape(x, (-1, self.side, self.side, x.shape[-1]))
        x = ops.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)
        return self.dense(ops.reshape(x, (-1, self.side**2 // 4, x.shape[-1])))


def build(width=32, heads=8, side=16):
    x, y = pictures(10, 32)
    inputs = keras.Input((side * side, 12))
    h = Places(side * side, width)(inputs)
    for shift in (0, 1):
        h = Swin(width, side, heads, shift)(h)
    h = layers.GlobalAveragePooling1D()(Merging(side, width)(h))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(h))
    model.compile(
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        optimizer=keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=0.0001),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    patches = x.reshape(-1, 16, 2, 16, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 256, 12)
    return model, patches, keras.utils.to_categorical(y, 10)
