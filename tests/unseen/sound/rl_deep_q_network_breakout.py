"""Values of four actions from four grey frames of Breakout, after keras.io examples/rl/deep_q_network_breakout.py."""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/rl/deep_q_network_breakout/"

SIZE = 44


def frames(count=96):
    """Return stacks of frames, 0..255, with a wall, a ball on its way and a paddle, and place of ball less paddle."""
    rng = np.random.default_rng(0)
    x = np.zeros((count, 4, SIZE, SIZE), "float32")
    x[:, :, 6:14] = rng.choice([80, 110, 140], (count, 1, 8, 1))
    ball, paddle = rng.integers(8, SIZE - 8, (count, 2)), rng.integers(2, SIZE - 8, count)
    for i in range(count):
        for step in range(4):
            row, column = ball[i] + step
            x[i, step, row : row + 2, column : column + 2] = 200
            x[i, step, SIZE - 3 :, paddle[i] : paddle[i] + 6] = 180
    return x, (ball[:, 1] - paddle) / SIZE


def build():
    x, offset = frames()
    values = np.stack([0 * offset, 0.1 - np.abs(offset), offset, -offset], axis=1) + 0.5
    model = keras.Sequential(
        [
            keras.Input((4, SIZE, SIZE)),
            layers.Lambda(lambda x: ops.transpose(x, [0, 2, 3, 1]), output_shape=(SIZE, SIZE, 4)),
            layers.Conv2D(16, 8, strides=4, activation="relu"),
            layers.Conv2D(32, 4, strides=2, activation="relu"),
            layers.Conv2D(32, 3, strides=1, activation="relu"),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(4, activation="linear"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.00025, clipnorm=1.0), loss=keras.losses.Huber())
    return model, x, values.astype("float32")
