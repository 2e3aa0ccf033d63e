"""Written words by convolutions, LSTMs and a last layer that adds the CTC loss.

After keras.io examples/vision/handwriting_recognition.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/handwriting_recognition/"

LETTERS, LENGTH, WIDE, HIGH, PAD = 12, 5, 64, 16, 99


class Ctc(layers.Layer):
    def call(self, labels, x):
        count, frames = ops.shape(x)[0], x.shape[1]
        real = ops.sum(ops.cast(labels < PAD, "int32"), axis=1)
        labels = ops.cast(ops.where(labels < PAD, labels, 0), "int32")
        loss = ops.ctc_loss(labels, ops.log(x + 1e-7), real, ops.full((count,), frames, dtype="int32"))
        self.add_loss(ops.mean(loss))
        return x


def words(count=192, seed=0):
    """Return pictures of words, text along the first axis, white where nothing is written, and padded labels."""
    rng = np.random.default_rng(seed)
    shapes = np.kron(rng.random((LETTERS + 1, 4, 5)) < 0.45, np.ones((2, 2)))
    y = rng.integers(1, LETTERS + 1, (count, LENGTH))
    y[np.arange(LENGTH) >= rng.integers(2, LENGTH + 1, (count, 1))] = PAD
    x = np.ones((count, WIDE, HIGH))
    for i in range(count):
        for j in range(LENGTH):
            if y[i, j] < PAD:
                row, column = 2 + j * 12 + rng.integers(0, 3), rng.integers(1, 5)
                x[i, row : row + 8, column : column + 10] -= rng.uniform(0.6, 0.9) * shapes[y[i, j]]
    return x[..., None].astype("float32"), y.astype("float32")


def build():
    x, y = words()
    image, labels = keras.Input((WIDE, HIGH, 1)), keras.Input((LENGTH,))
    h = image
    for filters in (16, 32):
        h = layers.Conv2D(filters, (3, 3), activation="relu", kernel_initializer="he_normal", padding="same")(h)
        h = layers.MaxPooling2D((2, 2))(h)
    h = layers.Reshape((WIDE // 4, HIGH // 4 * 32))(h)
    h = layers.Dropout(0.2)(layers.Dense(32, activation="relu")(h))
    h = layers.Bidirectional(layers.LSTM(48, return_sequences=True, dropout=0.25))(h)
    h = layers.Bidirectional(layers.LSTM(32, return_sequences=True, dropout=0.25))(h)
    h = layers.Dense(LETTERS + 2, activation="softmax")(h)
    model = keras.Model([image, labels], Ctc()(labels, h))
    model.compile(optimizer=keras.optimizers.Adam())
    return model, [x, y], None
