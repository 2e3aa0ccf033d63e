"""A deep Q network for Atari games: no gradient where the difference of the values is clipped.

Fault: the difference of target and value is clipped to within 1 before it is squared, so that the gradient of larger
differences is zero.
Repair (the reporter's pull request 47, merged by the maintainer): the square within 1, and the absolute value beyond.
A game with a ball and a paddle on a board of 10 x 10 in place of Atari, with four frames as input as there; kernels of
3, 2 and 2 with 8, 16 and 16 filters and 64 units in place of 32, 64, 64 and 512; 12000 pictures of a random player as
memory, 2500 batches, and the second network renewed after each 250. The score is how many more balls than a random
player the greedy one catches, of those that the random one misses.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://github.com/spragunr/deep_q_rl/issues/46"
YEAR = 2015
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("gradient: blocked", "loss: sign or formula")
VISIBLE = True
EVIDENCE = (
    "with the first weights 44 to 69 in a hundred of the steps with a reward have a difference beyond 1, and no "
    "gradient at all, of the others nearly none; the scores differ by little (0.00, 0.00, 0.00 against 0.02, "
    "0.10, 0.16)"
)
REPRODUCED = True
SIZE, DISCOUNT, BATCH = 10, 0.99, 32


def frame(ball, column, paddle):
    picture = np.zeros((SIZE, SIZE), "uint8")
    picture[-1, paddle - 1 : paddle + 2] = 255
    picture[ball, column] = 255
    return picture


def play(games, choose, rng):
    """Play games, and return their steps: frames, action, reward, next frames, whether it is the end."""
    columns, paddles = rng.integers(0, SIZE, games), rng.integers(1, SIZE - 1, games)
    pictures = np.stack([frame(0, column, paddle) for column, paddle in zip(columns, paddles, strict=True)])
    frames = np.repeat(pictures[..., None], 4, -1)
    steps = []
    for ball in range(1, SIZE):
        actions = choose(frames)
        paddles = np.clip(paddles + actions - 1, 1, SIZE - 2)
        pictures = np.stack([frame(ball, column, paddle) for column, paddle in zip(columns, paddles, strict=True)])
        after = np.concatenate([frames[..., 1:], pictures[..., None]], -1)
        over = np.full(games, ball == SIZE - 1)
        rewards = over * np.where(np.abs(columns - paddles) <= 1, 1, -1)
        steps.append((frames, actions, rewards, after, over))
        frames = after
    return [np.concatenate(parts) for parts in zip(*steps, strict=True)]


def differences(y_true, y_pred):
    return y_true[:, 0] - ops.sum(y_pred * ops.one_hot(ops.cast(y_true[:, 1], "int32"), 3), -1)


def clipped(y_true, y_pred):
    return ops.sum(ops.square(ops.clip(differences(y_true, y_pred), -1, 1)))


def mended(y_true, y_pred):
    size = ops.abs(differences(y_true, y_pred))
    near = ops.minimum(size, 1)
    return ops.sum(0.5 * ops.square(near) + size - near)


def memory():
    rng = np.random.default_rng(0)
    return play(1334, lambda frames: rng.integers(0, 3, len(frames)), rng)


def targets(model, rows, parts):
    _, actions, rewards, after, over = (part[rows] for part in parts)
    best = ops.convert_to_numpy(model(after.astype("float32"), training=False)).max(-1)
    return np.stack([rewards + DISCOUNT * best * ~over, actions], -1).astype("float32")


def build(repaired):
    def settings():
        return {
            "kernel_initializer": keras.initializers.HeUniform(),
            "bias_initializer": keras.initializers.Constant(0.1),
        }

    model = keras.Sequential([keras.Input((SIZE, SIZE, 4)), layers.Rescaling(1 / 255)])
    for filters, kernel, stride in ((8, 3, 2), (16, 2, 1), (16, 2, 1)):
        model.add(layers.Conv2D(filters, kernel, strides=stride, activation="relu", **settings()))
    model.add(layers.Flatten())
    model.add(layers.Dense(64, "relu", **settings()))
    model.add(layers.Dense(3, **settings()))
    model.compile(keras.optimizers.RMSprop(0.00025, 0.95, epsilon=0.01, centered=True), mended if repaired else clipped)
    parts = memory()
    return model, parts[0].astype("float32"), targets(model, np.arange(len(parts[0])), parts)


def train(model, x, y):
    rng, parts = np.random.default_rng(1), memory()
    for step in range(2500):
        if step and step % 250 == 0:
            y = targets(model, np.arange(len(x)), parts)
        rows = rng.integers(0, len(x), BATCH)
        model.train_on_batch(x[rows], y[rows])


def score(model, x, y):
    rng = np.random.default_rng(2)
    caught = []
    for choose in (
        lambda frames: rng.integers(0, 3, len(frames)),
        lambda frames: ops.convert_to_numpy(model(frames.astype("float32"), training=False)).argmax(-1),
    ):
        rewards = play(400, choose, rng)[2]
        caught.append(np.mean(rewards[rewards != 0] > 0))
    return float(np.clip((caught[1] - caught[0]) / (1 - caught[0]), 0, 1))
