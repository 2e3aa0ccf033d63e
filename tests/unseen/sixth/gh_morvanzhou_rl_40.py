"""A deep deterministic policy gradient for the pendulum: the rewards do not converge.

Fault: the rates of the optimizers (0.001 for the actor, 0.002 for the critic) stay large.
Repair (the maintainer): they are lowered gradually. The pendulum is written in NumPy, 50 at once in place of one, to
fill a memory of 10000 steps; then 700 batches, with 8 new steps for each, in place of a million. The score is how much
of the loss of a random player the greedy one saves.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://github.com/MorvanZhou/Reinforcement-learning-with-tensorflow/issues/40"
YEAR = 2018
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "the first steps are the same in both forms; not reproduced (0.00 in all): 700 batches are too few for either form"
)
REPRODUCED = False
UNITS, DISCOUNT, SOFT, BATCH, STEPS = 30, 0.9, 0.01, 32, 700


def observed(state):
    return np.stack([np.cos(state[0]), np.sin(state[0]), state[1]], -1).astype("float32")


def move(state, action):
    """Return the next angles and speeds of pendulums, and the rewards."""
    angle, speed = state
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    reward = -(wrapped**2 + 0.1 * speed**2 + 0.001 * action**2)
    speed = np.clip(speed + (15 * np.sin(angle) + 3 * action) * 0.05, -8, 8)
    return (angle + speed * 0.05, speed), reward


def start(count, rng):
    return rng.uniform(-np.pi, np.pi, count), rng.uniform(-1, 1, count)


def memory():
    rng = np.random.default_rng(0)
    state, rows = start(50, rng), []
    for _ in range(200):
        action = np.clip(rng.normal(0, 3, 50), -2, 2)
        after, reward = move(state, action)
        rows.append(np.column_stack([observed(state), action, reward / 10, observed(after)]))
        state = after
    return np.concatenate(rows).astype("float32")


def make_actor():
    states = keras.Input((3,))
    hidden = layers.Dense(UNITS, "relu")(states)
    return keras.Model(states, layers.Rescaling(2.0)(layers.Dense(1, "tanh")(hidden)))


def make_critic():
    states, actions = keras.Input((3,)), keras.Input((1,))
    hidden = layers.ReLU()(layers.Dense(UNITS)(layers.Concatenate()([states, actions])))
    return keras.Model([states, actions], layers.Dense(1)(hidden))


def rate(value, repaired):
    return keras.optimizers.schedules.ExponentialDecay(value, STEPS // 4, 0.5) if repaired else value


def numbers(model, inputs):
    return ops.convert_to_numpy(model(inputs, training=False))


def build(repaired):
    actor, critic = make_actor(), make_critic()
    critic.compile(keras.optimizers.Adam(rate(0.002, repaired)), "mse")
    critic.actor = lambda: actor
    critic.repaired = lambda: repaired
    rows = memory()
    after = [rows[:, -3:], numbers(actor, rows[:, -3:])]
    return critic, [rows[:, :3], rows[:, 3:4]], rows[:, 4:5] + DISCOUNT * numbers(critic, after)


def train(model, x, y):
    critic, actor = model, model.actor()
    states = keras.Input((3,))
    both = keras.Model(states, critic([states, actor(states)]))
    both.compile(keras.optimizers.Adam(rate(0.001, model.repaired())), lambda y_true, y_pred: -ops.mean(y_pred))
    older_actor, older_critic = make_actor(), make_critic()
    older_actor.set_weights(actor.get_weights())
    older_critic.set_weights(critic.get_weights())
    rng, rows, noise = np.random.default_rng(1), memory(), 3.0
    state = start(8, rng)
    for step in range(STEPS):
        batch = rows[rng.integers(0, len(rows), BATCH)]
        wanted = batch[:, 4:5] + DISCOUNT * numbers(older_critic, [batch[:, -3:], numbers(older_actor, batch[:, -3:])])
        critic.trainable = False
        both.train_on_batch(batch[:, :3], wanted)
        critic.trainable = True
        critic.train_on_batch([batch[:, :3], batch[:, 3:4]], wanted)
        for older, newer in ((older_actor, actor), (older_critic, critic)):
            for old, new in zip(older.weights, newer.weights, strict=True):
                old.assign((1 - SOFT) * old + SOFT * new)
        action = np.clip(rng.normal(numbers(actor, observed(state))[:, 0], noise), -2, 2)
        after, reward = move(state, action)
        new = np.column_stack([observed(state), action, reward / 10, observed(after)])
        rows[(8 * step + np.arange(8)) % len(rows)] = new
        state = start(8, rng) if step % 200 == 199 else after
        noise *= 0.9995**8


def score(model, x, y):
    rng = np.random.default_rng(2)
    totals = []
    for greedy in (False, True):
        state, total = start(40, rng), 0
        for _ in range(200):
            action = numbers(model.actor(), observed(state))[:, 0] if greedy else rng.uniform(-2, 2, 40)
            state, reward = move(state, action)
            total += reward.mean()
        totals.append(total)
    return float(np.clip(1 - totals[1] / totals[0], 0, 1))
