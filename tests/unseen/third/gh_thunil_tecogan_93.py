"""A recurrent generator of super-resolution video (TecoGAN) starts with a content loss of millions.

Fault: the generator has no activation at its end, and its output, times 2 less 1, comes back as an input 18 times.
Repair (asker): tanh at the end. Narrower blocks, a still camera (no warp), and the content loss only.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/thunil/TecoGAN/issues/93"
YEAR = 2020
TOPIC = "generative adversarial networks"
CONFIRMED = "asker"
KINDS = ("activation: missing or wrong",)
VISIBLE = False
EVIDENCE = "the narrow port does not explode: the frames keep a root mean square of 0.9; a linear end is usual"
REPRODUCED = False

FRAMES, SIDE, WIDTH, BLOCKS = 10, 4, 24, 16


class Video(keras.layers.Layer):
    """Frames of four times the size, each from a small frame and the large one before."""

    def __init__(self, tanh):
        super().__init__()
        self.tanh = tanh

    def build(self, shape):
        def conv(kind, inputs, outputs, **settings):
            layer = kind(outputs, 3, padding="same", **settings)
            layer.build((None, SIDE, SIDE, inputs))
            return layer

        same, larger = keras.layers.Conv2D, keras.layers.Conv2DTranspose
        self.first = conv(same, 17, WIDTH, activation="relu")
        self.blocks = [(conv(same, WIDTH, WIDTH, activation="relu"), conv(same, WIDTH, WIDTH)) for _ in range(BLOCKS)]
        self.inner = [layer for pair in self.blocks for layer in pair]
        self.larger = [conv(larger, WIDTH, WIDTH, strides=2, activation="relu") for _ in range(2)]
        self.last = conv(same, WIDTH, 1)

    def frame(self, small, before):
        hidden = self.first(keras.ops.concatenate([small, before], -1))
        for first, second in self.blocks:
            hidden = hidden + second(first(hidden))
        for layer in self.larger:
            hidden = layer(hidden)
        bicubic = keras.ops.image.resize(small, (4 * SIDE, 4 * SIDE), "bicubic", data_format="channels_last")
        large = 2 * (self.last(hidden) + bicubic) - 1
        return keras.ops.tanh(large) if self.tanh else large

    def call(self, frames):
        before, frames_out = keras.ops.zeros_like(keras.ops.repeat(frames[:, 0], 16, axis=-1)), []
        for number in range(2 * FRAMES - 1):
            large = self.frame(frames[:, number], before)
            frames_out.append(large)
            parts = keras.ops.reshape((large + 1) / 2, (-1, SIDE, 4, SIDE, 4))
            before = keras.ops.reshape(keras.ops.transpose(parts, (0, 1, 3, 2, 4)), (-1, SIDE, SIDE, 16))
        return keras.ops.stack(frames_out, 1)


def build(repaired):
    rng = np.random.default_rng(0)
    turn = rng.uniform(0, 6, (16, 1, 1, 1)) + 0.2 * np.arange(FRAMES)[:, None, None]
    rows, columns = np.mgrid[: 4 * SIDE, : 4 * SIDE] / (4 * SIDE)
    slope = rng.uniform(2, 6, (2, 16, 1, 1, 1))
    scenes = 0.5 + 0.45 * np.sin(slope[0] * rows + slope[1] * columns + turn)
    scenes = np.concatenate([scenes, scenes[:, -2::-1]], 1)[..., None].astype("float32")  # there and back
    x = scenes.reshape(16, -1, SIDE, 4, SIDE, 4, 1).mean((3, 5))
    model = keras.Sequential([keras.Input(x.shape[1:]), Video(repaired)])
    model.compile(keras.optimizers.Adam(0.00005), "mse")
    return model, x, 2 * scenes - 1


def train(model, x, y):
    model.fit(x, y, batch_size=4, epochs=4, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
