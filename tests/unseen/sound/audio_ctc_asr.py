"""Speech transcription with convolutions, bidirectional LSTMs and a CTC loss.

After keras.io examples/audio/ctc_asr.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/audio/ctc_asr/"

LETTERS = 12


def ctc(y_true, y_pred):
    """Return the CTC loss of rows of letters without padding; number 0 is the blank."""
    count, frames = ops.shape(y_pred)[0], ops.shape(y_pred)[1]
    letters = ops.full((count,), y_true.shape[1], dtype="int32")
    return ops.ctc_loss(ops.cast(y_true, "int32"), ops.log(y_pred + 1e-7), letters, ops.full((count,), frames, "int32"))


def speech(count=128, frames=48, bins=33, length=6):
    """Return spectrograms in which each letter sounds in a frequency of its own for some frames."""
    rng = np.random.default_rng(0)
    y = rng.integers(1, LETTERS, (count, length))
    pitch = np.repeat(3 + 2.4 * y, frames // length, axis=1)
    x = np.exp(-((np.arange(bins) - pitch[..., None]) ** 2) / 2) * rng.uniform(0.5, 2, (count, frames, 1))
    return (x + np.abs(rng.normal(0, 0.05, x.shape))).astype("float32"), y.astype("int32")


def build():
    x, y = speech()
    inputs = keras.Input(x.shape[1:])
    h = inputs
    for _ in range(2):
        h = layers.Conv1D(24, 16, activation="relu", kernel_initializer="he_normal", padding="same")(h)
        h = layers.BatchNormalization()(h)
    for units in (24, 32):
        h = layers.Bidirectional(layers.LSTM(units, return_sequences=True, dropout=0.25))(h)
        h = layers.BatchNormalization()(h)
    h = layers.Permute((2, 1))(h)
    for _ in range(2):
        h = layers.Dense(64, activation="relu")(h)
        h = layers.BatchNormalization()(layers.Dropout(0.2)(h))
    h = layers.Permute((2, 1))(h)
    model = keras.Model(inputs, layers.Dense(LETTERS + 1, activation="softmax")(h))
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss=ctc)
    return model, x, y
