"""Letters of a captcha by convolutions, LSTMs and a last layer that adds the CTC loss.

After keras.io examples/vision/captcha_ocr.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/captcha_ocr/"

LETTERS, LENGTH, WIDE, HIGH = 10, 4, 48, 16


class Ctc(layers.Layer):
    def call(self, labels, x):
        count, frames = ops.shape(x)[0], x.shape[1]
        sizes = ops.full((count,), LENGTH, dtype="int32"), ops.full((count,), frames, dtype="int32")
        self.add_loss(ops.mean(ops.ctc_loss(ops.cast(labels, "int32"), ops.log(x + 1e-7), *sizes)))
        return x


def captchas(count=192, seed=0):
    """Return pictures, turned so that the text runs along the first axis, and numbers of letters from 1 on."""
    rng = np.random.default_rng(seed)
    shapes = np.kron(rng.random((LETTERS + 1, 4, 5)) < 0.45, np.ones((2, 2)))
    y = rng.integers(1, LETTERS + 1, (count, LENGTH))
    x = np.full((count, WIDE, HIGH), 0.85)
    for i in range(count):
        for j in range(LENGTH):
            row, column = j * 12 + rng.integers(0, 4), rng.integers(1, 5)
            x[i, row : row + 8, column : column + 10] -= 0.6 * shapes[y[i, j]]
    return np.clip(x + rng.normal(0, 0.04, x.shape), 0, 1)[..., None].astype("float32"), y.astype("float32")


def build():
    x, y = captchas()
    image, labels = keras.Input((WIDE, HIGH, 1)), keras.Input((LENGTH,))
    h = image
    for filters in (16, 32):
        h = layers.Conv2D(filters, (3, 3), activation="relu", kernel_initializer="he_normal", padding="same")(h)
        h = layers.MaxPooling2D((2, 2))(h)
    h = layers.Reshape((WIDE // 4, HIGH // 4 * 32))(h)
    h = layers.Dropout(0.2)(layers.Dense(32, activation="relu")(h))
    h = layers.Bidirectional(layers.LSTM(48, return_sequences=True, dropout=0.25))(h)
    h = layers.Bidirectional(layers.LSTM(32, return_sequences=True, dropout=0.25))(h)
    h = layers.Dense(LETTERS + 1, activation="softmax")(h)
    model = keras.Model([image, labels], Ctc()(labels, h))
    model.compile(optimizer=keras.optimizers.Adam())
    return model, [x, y], None
