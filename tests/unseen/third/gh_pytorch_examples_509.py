"""A REINFORCE agent does not learn to balance the pole.

Fault: the policy has no dropout.
Repair (author, merged by the maintainer): dropout of 0.6 after the first layer.
While acting, the agent draws other dropout masks than in its lesson, as a Keras model does not tell its masks.
"""

import keras
import numpy as np

URL = "https://github.com/pytorch/examples/pull/509"
YEAR = 2019
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("other",)
VISIBLE = False
EVIDENCE = "a policy without dropout is usual"
REPRODUCED = False

EPISODES = 120


def start(fan_in):
    """Return PyTorch's default initializers."""
    bound = fan_in**-0.5
    return {
        "kernel_initializer": keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        "bias_initializer": keras.initializers.RandomUniform(-bound, bound),
    }


def policy_loss(taken, chances):
    """Return the negative log of the chance of each action, times its return."""
    chosen = keras.ops.take_along_axis(chances, keras.ops.cast(taken[:, :1], "int32"), axis=1)[:, 0]
    return -keras.ops.log(chosen) * taken[:, 1]


def episode(model, rng, dropout):
    """Return states, actions and normalized returns of one episode of the pole on the cart."""
    first, second = model.layers[0], model.layers[-1]
    (w1, b1), (w2, b2) = first.get_weights(), second.get_weights()
    state, states, actions = rng.uniform(-0.05, 0.05, 4), [], []
    while len(states) < 500:
        hidden = state @ w1 + b1
        if dropout:
            hidden = hidden * (rng.random(128) > dropout) / (1 - dropout)
        scores = np.maximum(hidden, 0) @ w2 + b2
        action = int(rng.random() < 1 / (1 + np.exp(scores[0] - scores[1])))
        states.append(state)
        actions.append(action)
        _position, speed, angle, turn = state
        push = ((20 * action - 10) + 0.05 * turn**2 * np.sin(angle)) / 1.1
        twist = (9.8 * np.sin(angle) - np.cos(angle) * push) / (0.5 * (4 / 3 - 0.1 * np.cos(angle) ** 2 / 1.1))
        pull = push - 0.05 * twist * np.cos(angle) / 1.1
        state = state + 0.02 * np.array([speed, pull, turn, twist])
        if abs(state[0]) > 2.4 or abs(state[2]) > 0.2095:
            break
    returns = (1 - 0.99 ** np.arange(len(states), 0, -1)) / 0.01
    returns = (returns - returns.mean()) / (returns.std(ddof=1) + 1e-7)
    return np.array(states, "float32"), np.stack([actions, returns], -1).astype("float32")


def build(repaired):
    layers = [keras.Input((4,)), keras.layers.Dense(128, **start(4))]
    if repaired:
        layers.append(keras.layers.Dropout(0.6))
    layers += [keras.layers.ReLU(), keras.layers.Dense(2, "softmax", **start(128))]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.01), policy_loss)
    model.dropout_of_program = 0.6 if repaired else 0
    return model, *episode(model, np.random.default_rng(0), model.dropout_of_program)


def train(model, x, y):
    rng = np.random.default_rng(1)
    for _ in range(EPISODES):
        model.train_on_batch(x, y)
        x, y = episode(model, rng, model.dropout_of_program)


def score(model, x, y):
    rng = np.random.default_rng(2)
    steps = np.mean([len(episode(model, rng, 0)[0]) for _ in range(10)])
    return float(np.clip((steps - 22) / (500 - 22), 0, 1))
