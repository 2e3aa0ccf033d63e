"""Q values of tic-tac-toe by a network with one hidden layer: all go to zero, and illegal moves are not unlearned.

Fault: rewards are -1, 0 and 1, but the outputs are sigmoids.
Repair (accepted answer of the asker): no activation of the outputs. The games of the training are played at random
against a random player, once; an illegal move ends a game. Rate and discount are not told: 0.01 and 0.9. The output
is the value of the action that was taken. The score is for the values of moves that end a game, which are known: by
the order of its values the faulty form comes to play as well as the repaired one.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers

URL = "https://stackoverflow.com/questions/40896951"
YEAR = 2016
TOPIC = "reinforcement learning"
CONFIRMED = "accepted"
KINDS = ("targets: beyond the last activation",)
VISIBLE = True
EVIDENCE = "17 % of the targets are below 0 (-1 for lost games and illegal moves), for outputs that are sigmoids"
REPRODUCED = True
ROUNDS, DISCOUNT = 12, 0.9
LINES = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]])


def move(board, action, rng):
    """Return the board after a move of X and a random one of O, the reward, and whether the game is over."""
    if board[action]:
        return board, -1, True
    board = board.copy()
    for player in (1, -1):
        board[action if player == 1 else rng.choice(np.flatnonzero(board == 0))] = player
        if (board[LINES].sum(1) == 3 * player).any():
            return board, player, True
        if board.all():
            return board, 0, True
    return board, 0, False


def games():
    rng = np.random.default_rng(0)
    rows = []
    while len(rows) < 4000:
        board, over = np.zeros(9, "float32"), False
        while not over:
            free = np.flatnonzero(board == 0)
            action = rng.choice(free) if rng.random() < 0.6 else rng.integers(9)
            after, reward, over = move(board, action, rng)
            rows.append((board, action, reward, after, over))
            board = after
    return [np.array(column) for column in zip(*rows, strict=True)]


def values(model, boards):
    network = keras.Model(model.inputs[0], model.get_layer("values").output)
    return network.predict(boards, batch_size=1024, verbose=0)


def targets(model, rewards, afters, over):
    return (rewards + DISCOUNT * values(model, afters).max(1) * (1 - over)).astype("float32")[:, None]


def build(repaired):
    boards, taken = keras.Input((9,)), keras.Input((9,))
    hidden = layers.Dense(50, "sigmoid")(boards)
    scores = layers.Dense(9, "linear" if repaired else "sigmoid", name="values")(hidden)
    model = keras.Model([boards, taken], layers.Dot(1)([scores, taken]))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    memory = games()
    return model, [memory[0], np.eye(9, dtype="float32")[memory[1]]], targets(model, *memory[2:])


def train(model, x, y):
    memory = games()
    for _ in range(ROUNDS):
        model.fit(x, y, batch_size=128, epochs=6, verbose=0)
        y = targets(model, *memory[2:])


def score(model, x, y):
    """Return the explained share of the rewards of the moves that end a game."""
    memory = games()
    outputs = predictions(model, x)[:, 0]
    return explained(outputs[memory[4]], memory[2][memory[4]])
