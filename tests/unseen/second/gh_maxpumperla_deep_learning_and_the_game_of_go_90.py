"""An actor-critic agent learns to play Go from its games: the loss becomes more and more negative, then NaN.

Fault: a cross-entropy with negative advantages takes the log of probabilities of a softmax, which go to 0.
Repair (an author of the book): no softmax at the actions, a cross-entropy of the logits.
Losses and optimizer are those of the repository (class ACAgent), the network is its small one; 5 x 5 points, 12
filters instead of 32 and 48, 64 units instead of 512; 60 epochs with 512 moves instead of one with many games. The
games are made: moves in the corner where the opponent is weak win more often. In the repaired form the loss stays
finite, but has no bound (the author calls it a partial solution, the rest of his comment is not stored).
"""

import keras
import numpy as np

URL = "https://github.com/maxpumperla/deep_learning_and_the_game_of_go/issues/90"
YEAR = 2021
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = False
EVIDENCE = "probabilities are about 0.04 at first and fall to 0 in later steps; both forms have negative advantages"
REPRODUCED = False

SIZE, PLANES, MOVES = 5, 11, 512


def positions(rng):
    """Return boards in planes of the encoder, and the corner of each (0 to 3) in which the opponent is weak."""
    boards, corners = np.zeros((MOVES, SIZE, SIZE, PLANES), "float32"), rng.integers(0, 4, MOVES)
    for board, corner in zip(boards, corners, strict=True):
        for plane in rng.integers(0, 8, 4):
            board[rng.integers(SIZE), rng.integers(SIZE), plane] = 1
        for _ in range(3):
            board[rng.integers(2) + 3 * (corner // 2), rng.integers(2) + 3 * (corner % 2), 4] = 1
        board[..., rng.integers(8, 10)] = 1
    return boards, corners


def is_good(moves, corners):
    rows, columns = moves // SIZE, moves % SIZE
    return (rows // 3 == corners // 2) & (columns // 3 == corners % 2)


def experience(model, rng):
    """Return positions, and the targets for moves by chance (of a new agent), as after a won or a lost game."""
    boards, corners = positions(rng)
    moves = rng.integers(0, SIZE * SIZE, MOVES)
    rewards = np.where(rng.random(MOVES) < np.where(is_good(moves, corners), 0.9, 0.2), 1.0, -1.0)
    policy = np.zeros((MOVES, SIZE * SIZE), "float32")
    policy[np.arange(MOVES), moves] = rewards - model.predict(boards, batch_size=128, verbose=0)[1][:, 0]
    return boards, [policy, rewards.astype("float32")[:, None]]


def cross_entropy(targets, chances):
    """Return the cross-entropy without a lowest probability, as Keras of TensorFlow 2 had it after a softmax."""
    return -keras.ops.sum(targets * keras.ops.log(chances), axis=-1)


def build(repaired):
    board = keras.Input((SIZE, SIZE, PLANES))
    hidden = board
    for kernel in (7, 5, 5, 5):
        hidden = keras.layers.Conv2D(12, kernel, padding="same", activation="relu")(hidden)
    hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(hidden))
    actor = keras.layers.Dense(64, activation="relu")(hidden)
    actor = keras.layers.Dense(SIZE * SIZE, activation=None if repaired else "softmax", name="policy")(actor)
    critic = keras.layers.Dense(64, activation="relu")(hidden)
    model = keras.Model(board, [actor, keras.layers.Dense(1, activation="tanh", name="value")(critic)])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True) if repaired else cross_entropy
    model.compile(keras.optimizers.SGD(0.1, clipvalue=0.2), [loss, "mse"])
    return model, *experience(model, np.random.default_rng(0))


def train(model, x, y):
    model.fit(x, y, batch_size=128, epochs=60, verbose=0)


def score(model, x, y):
    """Return how often the best move is in the right corner, from chance (0) to always (1)."""
    boards, corners = positions(np.random.default_rng(2))
    policy = np.asarray(model.predict(boards, batch_size=128, verbose=0)[0])
    if not np.isfinite(policy).all():
        return 0.0
    return max(0.0, (is_good(policy.argmax(-1), corners).mean() - 0.25) / 0.75)
