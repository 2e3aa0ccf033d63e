"""Views of a scene by a radiance field along the rays of a camera, after keras.io examples/vision/nerf.py."""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/nerf/"

SIZE, SAMPLES, DIMS = 12, 8, 8


def encode(x):
    parts = [x] + [wave(2.0**i * x) for i in range(DIMS) for wave in (np.sin, np.cos)]
    return np.concatenate(parts, axis=-1)


class Field(keras.Model):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, inputs):
        rays, depths = inputs
        raw = ops.reshape(self.network(rays), (-1, SIZE, SIZE, SAMPLES, 4))
        colours, density = ops.sigmoid(raw[..., :3]), ops.relu(raw[..., 3])
        gaps = ops.pad(depths[..., 1:] - depths[..., :-1], ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=1e10)
        alpha = 1.0 - ops.exp(-density * gaps)
        clear = ops.cumprod(1.0 - alpha + 1e-10, axis=-1)
        clear = ops.concatenate([ops.ones_like(clear[..., :1]), clear[..., :-1]], axis=-1)
        return ops.sum((alpha * clear)[..., None] * colours, axis=-2)


def build(count=64):
    rng = np.random.default_rng(0)
    turn = rng.uniform(0, 2 * np.pi, count)
    grid = np.linspace(-0.6, 0.6, SIZE)
    ahead = np.stack(np.broadcast_arrays(grid[None, :], -grid[:, None], -1.0), axis=-1)
    cos, sin, zero, one = np.cos(turn), np.sin(turn), 0 * turn, 1 + 0 * turn
    pose = np.stack([np.stack([cos, zero, sin], 1), np.stack([zero, one, zero], 1), np.stack([-sin, zero, cos], 1)], 1)
    direction = np.einsum("nij,hwj->nhwi", pose, ahead)
    origin = 4 * pose[:, None, None, :, 2]
    depths = np.linspace(2, 6, SAMPLES) + rng.random((count, SIZE, SIZE, SAMPLES)) * 4 / SAMPLES
    points = origin[..., None, :] + direction[..., None, :] * depths[..., None]
    near = -(origin * direction).sum(-1) / (direction**2).sum(-1)
    hit = origin + direction * near[..., None]
    inside = (np.linalg.norm(hit, axis=-1) < 1)[..., None]
    y = inside * (0.5 + 0.4 * np.sin(2 * hit + [0, 1, 2]))
    rays = encode(points.reshape(count, -1, 3)).astype("float32")
    inputs = keras.Input(rays.shape[1:])
    h = inputs
    for i in range(8):
        h = layers.Dense(48, activation="relu")(h)
        if i % 4 == 0 and i > 0:
            h = layers.concatenate([h, inputs], axis=-1)
    model = Field(keras.Model(inputs, layers.Dense(4)(h)))
    model.compile(optimizer=keras.optimizers.Adam(), loss=keras.losses.MeanSquaredError())
    return model, [rays, depths.astype("float32")], y.astype("float32")
