"""Q values of a maze of 4 by 4 by a network with one hidden layer: the cost does not converge.

Fault: a constant rate of 0.01 for RMSprop.
Repair (the maintainer): the rate is lowered gradually. The repaired form also mends that the value after the end of a
game counts. 8000 steps instead of 300 games, the networks exchanged after 100 batches instead of 200. The score is
the explained share of the best Q values (of games that end) over the pairs of state and action in the memory.
"""

import keras
import numpy as np
from _program import explained
from keras import layers

URL = "https://github.com/MorvanZhou/Reinforcement-learning-with-tensorflow/issues/18"
YEAR = 2017
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "the first steps are sound in both forms; not reproduced (0.00, 0.00, 0.00 against 0.03, 0.17, 0.00): neither form"
    " learns the values beside its path"
)
REPRODUCED = False
STEPS, DISCOUNT = 8000, 0.9
PLACES = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 2)
STATES = ((PLACES - 2) / 4).astype("float32")
GOAL, PIT = 2 * 4 + 2, 2 * 4 + 1


def move(place, action):
    step = ((0, -1), (0, 1), (1, 0), (-1, 0))[action]
    across, down = (int(np.clip(PLACES[place][axis] + step[axis], 0, 3)) for axis in range(2))
    after = across * 4 + down
    return after, {GOAL: 1, PIT: -1}.get(after, 0), after in (GOAL, PIT)


def best_values():
    values = np.zeros((16, 4))
    for _ in range(60):
        for place in range(16):
            for action in range(4):
                after, reward, over = move(place, action)
                values[place, action] = reward + DISCOUNT * (1 - over) * values[after].max()
    return values


def targets(values, older, rows, repaired):
    places, actions, rewards, afters, over = rows.T
    wanted = values[places].copy()
    wanted[np.arange(len(rows)), actions] = rewards + DISCOUNT * older[afters].max(1) * (1 - over * repaired)
    return wanted


def build(repaired):
    normal = {"bias_initializer": keras.initializers.Constant(0.1)}
    model = keras.Sequential([keras.Input((2,))])
    for units, activation in ((20, "relu"), (4, None)):
        weights = keras.initializers.RandomNormal(stddev=0.3)
        model.add(layers.Dense(units, activation, kernel_initializer=weights, **normal))
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 300, 0.5) if repaired else 0.01
    model.compile(keras.optimizers.RMSprop(rate, epsilon=1e-10), "mse")
    rng, place, rows = np.random.default_rng(0), 0, []
    for _ in range(200):
        action = int(rng.integers(4))
        after, reward, over = move(place, action)
        rows.append((place, action, reward, after, over))
        place = 0 if over else after
    rows = np.array(rows, int)
    values = np.asarray(model.predict_on_batch(STATES))
    return model, STATES[rows[:, 0]], targets(values, values, rows, repaired)


def train(model, x, y):
    repaired = not isinstance(model.optimizer._learning_rate, keras.Variable)
    rng, place, rows = np.random.default_rng(1), 0, []
    values = older = np.asarray(model.predict_on_batch(STATES))
    for step in range(STEPS):
        action = int(values[place].argmax() if rng.random() < 0.9 else rng.integers(4))
        after, reward, over = move(place, action)
        rows.append((place, action, reward, after, over))
        place = 0 if over else after
        if step > 200 and step % 5 == 0:
            if step % 500 == 0:
                older = values
            batch = np.array([rows[at] for at in rng.integers(max(0, len(rows) - 2000), len(rows), 32)], int)
            model.train_on_batch(STATES[batch[:, 0]], targets(values, older, batch, repaired))
            values = np.asarray(model.predict_on_batch(STATES))
    model.seen = np.unique(np.array(rows, int)[-2000:, :2], axis=0)


def score(model, x, y):
    seen = model.seen
    values = np.asarray(model.predict_on_batch(STATES))
    return explained(values[seen[:, 0], seen[:, 1]], best_values()[seen[:, 0], seen[:, 1]])
