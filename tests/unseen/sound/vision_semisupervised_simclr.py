"""Two views of each picture told from those of others by SimCLR.

After keras.io examples/vision/semisupervised_simclr.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/semisupervised_simclr/"


class Contrastive(keras.Model):
    def __init__(self, width=48, temperature=0.1):
        super().__init__()
        self.temperature = temperature
        parts = [layers.Rescaling(1 / 255)]
        parts += [layers.Conv2D(width, kernel_size=3, strides=2, activation="relu") for _ in range(4)]
        self.encoder = keras.Sequential([*parts, layers.Flatten(), layers.Dense(width, activation="relu")])
        self.head = keras.Sequential([layers.Dense(width, activation="relu"), layers.Dense(width)])

    def call(self, inputs):
        return [self.head(self.encoder(x)) for x in inputs]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        first, second = (ops.normalize(p, axis=1) for p in y_pred)
        likeness = ops.matmul(first, ops.transpose(second)) / self.temperature
        labels = ops.arange(ops.shape(first)[0])
        losses = [
            keras.losses.sparse_categorical_crossentropy(labels, part, from_logits=True)
            for part in (likeness, ops.transpose(likeness))
        ]
        return ops.mean(losses[0] + losses[1]) / 2


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
    model = Contrastive()
    model.compile(optimizer=keras.optimizers.Adam())
    return model, views(), None
