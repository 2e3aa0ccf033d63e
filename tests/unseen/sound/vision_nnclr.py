"""Two views of each picture told apart with nearest neighbours from a queue by NNCLR.

After keras.io examples/vision/nnclr.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/nnclr/"


class NNCLR(keras.Model):
    def __init__(self, width=48, queue=256, temperature=0.1):
        super().__init__()
        self.temperature, self.size = temperature, (queue, width)
        parts = [layers.Rescaling(1 / 255)]
        parts += [layers.Conv2D(width, kernel_size=3, strides=2, activation="relu") for _ in range(4)]
        self.encoder = keras.Sequential([*parts, layers.Flatten(), layers.Dense(width, activation="relu")])
        self.head = keras.Sequential([layers.Dense(width, activation="relu"), layers.Dense(width)])
        start = np.random.default_rng(0).normal(size=self.size)
        start = start / np.linalg.norm(start, axis=1, keepdims=True)
        self.queue = self.add_weight(self.size, initializer=keras.initializers.Constant(start), trainable=False)

    def nearest(self, x):
        found = ops.take(self.queue, ops.argmax(ops.matmul(x, ops.transpose(self.queue)), axis=1), axis=0)
        return x + ops.stop_gradient(found - x)

    def call(self, inputs):
        return [self.head(self.encoder(x)) for x in inputs]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        first, second = (ops.normalize(p, axis=1) for p in y_pred)
        pairs = [(self.nearest(first), second), (second, self.nearest(first))]
        pairs += [(self.nearest(second), first), (first, self.nearest(second))]
        labels = ops.arange(ops.shape(first)[0])
        losses = [
            keras.losses.sparse_categorical_crossentropy(
                labels, ops.matmul(a, ops.transpose(b)) / self.temperature, from_logits=True
            )
            for a, b in pairs
        ]
        self.queue.assign(ops.concatenate([ops.stop_gradient(first), self.queue], axis=0)[: self.size[0]])
        return ops.mean(ops.stack(losses))


def views(count=128, size=32):
    """Return two random cuts of each picture, in 0..255, turned over and brightened by chance."""
    x, _ = pictures(10, size + 8, count=count)
    rng = np.random.default_rng(0)
    cuts = []
    for _ in range(2):
        row, column = rng.integers(0, 9, (2, count))
        cut = np.stack([x[i, row[i] : row[i] + size, column[i] : column[i] + size] for i in range(count)])
        cut = np.where(rng.random((count, 1, 1, 1)) < 0.5, cut[:, :, ::-1], cut)
        cuts.append((np.clip(cut * rng.uniform(0.7, 1.3, (count, 1, 1, 3)), 0, 1) * 255).astype("float32"))
    return cuts


def build():
    model = NNCLR()
    model.compile(optimizer=keras.optimizers.Adam(), jit_compile=False)
    return model, views(), None
