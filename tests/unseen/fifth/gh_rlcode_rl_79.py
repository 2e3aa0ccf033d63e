"""Pong by policy gradients (REINFORCE) on the difference of two pictures: hardly better than chance.

Fault: a picture of 80 x 80 is reshaped to (1, 80, 80) for a convolution with the channels last: it is one line of 80
places with 80 channels. Repair (the report, whose title names the convolution; its details are cut): (80, 80, 1).
Kept: the filters of 6 x 6 with a step of 3, the layers of 64 and 32, first weights, rate, discount, normalized
rewards, the targets (probabilities plus 0.001 of the gradient), one update for all pictures since the last. Smaller:
8 filters instead of 32, pictures of 20 x 20, a game of 8 columns with 3 actions instead of 6, in which the paddle
has to be where the ball arrives; 32 games at once for each of 250 updates. The score is how far the share of balls
that are hit is from that of chance moves to all.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://github.com/rlcode/reinforcement-learning/issues/79"
YEAR = 2018
TOPIC = "reinforcement learning"
CONFIRMED = "person"
KINDS = ("inputs: other",)
VISIBLE = True
EVIDENCE = (
    "the convolution sees one line of 20 places with 20 channels: 5 of the 6 rows of its filters only meet"
    " padding, and 0.85 of its weights have a gradient of exactly 0 in the first batch (none in the repaired"
    " form). It learns more slowly (0.25, 0.22, 0.26 against 0.46, 0.56, 0.55)"
)
REPRODUCED = True
SIZE, STEPS, GAMES, UPDATES, ACTIONS = 20, 9, 32, 250, 3


def drawn(rows, columns, paddles):
    pictures = np.zeros((len(rows), SIZE, SIZE), "float32")
    for picture, row, column, paddle in zip(pictures, rows, columns, paddles, strict=True):
        picture[row : row + 2, column : column + 2] = 1
        picture[paddle : paddle + 4, SIZE - 2 :] = 1
    return pictures


def play(model, rng, games):
    """Play one ball in each game; return pictures, probabilities, actions and what was won, each by step and game."""
    rows = rng.integers(0, SIZE - 1, games)
    slopes = rng.integers(-1, 2, games)
    paddles, columns = np.full(games, (SIZE - 4) // 2), np.ones(games, int)
    seen, shares, taken = [], [], []
    before = drawn(rows, columns, paddles)
    for _ in range(STEPS):
        columns = columns + 2
        rows = rows + slopes
        slopes = np.where((rows < 0) | (rows > SIZE - 2), -slopes, slopes)
        rows = rows.clip(0, SIZE - 2)
        now = drawn(rows, columns.clip(0, SIZE - 2), paddles)
        pictures = (now - before).reshape(games, -1)
        before = now
        if model is None:
            probabilities = np.full((games, ACTIONS), 1 / ACTIONS)
        else:
            probabilities = ops.convert_to_numpy(model(pictures)).astype("float64")
        marks = probabilities.cumsum(1)
        actions = (rng.random((games, 1)) * marks[:, -1:] > marks).sum(1).clip(0, ACTIONS - 1)
        paddles = (paddles + 2 * (actions - 1)).clip(0, SIZE - 4)
        seen.append(pictures)
        shares.append(probabilities)
        taken.append(actions)
    won = np.where((rows + 1 >= paddles) & (rows <= paddles + 3), 1.0, -1.0)
    return np.stack(seen), np.stack(shares), np.stack(taken), won


def lesson(model, rng):
    """The pictures and targets of an update: the probabilities, moved by rewards and the gradient of the logarithm."""
    seen, shares, taken, won = play(model, rng, GAMES)
    rewards = np.stack([won * 0.99 ** (STEPS - 1 - step) for step in range(STEPS)])
    rewards = (rewards - rewards.mean()) / (rewards.std() + 1e-9)
    moved = shares + 0.001 * (np.eye(ACTIONS)[taken] - shares) * rewards[..., None]
    return seen.reshape(-1, SIZE * SIZE), moved.reshape(-1, ACTIONS).astype("float32")


def build(repaired):
    shape = (SIZE, SIZE, 1) if repaired else (1, SIZE, SIZE)
    settings = {"activation": "relu", "kernel_initializer": "he_uniform"}
    model = keras.Sequential(
        [
            keras.Input((SIZE * SIZE,)),
            layers.Reshape(shape),
            layers.Conv2D(8, 6, 3, "same", **settings),
            layers.Flatten(),
            layers.Dense(64, **settings),
            layers.Dense(32, **settings),
            layers.Dense(ACTIONS, "softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.001), "categorical_crossentropy")
    return model, *lesson(model, np.random.default_rng(0))


def train(model, x, y):
    rng = np.random.default_rng(1)
    for _ in range(UPDATES):
        model.train_on_batch(*lesson(model, rng))


def score(model, x, y):
    hits, chance = (np.mean(play(player, np.random.default_rng(2), 400)[3] > 0) for player in (model, None))
    return float(np.clip((hits - chance) / (1 - chance), 0, 1))
