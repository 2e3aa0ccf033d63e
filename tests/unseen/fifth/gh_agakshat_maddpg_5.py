"""Several agents hunt and flee, each with an actor and a critic (MADDPG): after many steps the actions are NaN.

Fault: actors of ReLUs whose softmax gets nearly 0 for an action; the sampling takes the logarithm of that. Moreover
the actors are trained with actions of the next states, and the critics judge these in the present ones. Repair (the
asker and a commenter; it did not help the maintainer): tanh in place of ReLU. The repaired form also samples from
the logits, and takes the actions of the present states. One hunter and one prey instead of three and one, on a plane
with speeds and the 5 actions of the original; layers of 64 and 48 instead of 400 and 300; 16 games at once, 150
steps. The score is how much nearer the hunter comes to a prey that moves at random than a hunter that moves at
random.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://github.com/agakshat/maddpg/issues/5"
YEAR = 2017
TOPIC = "reinforcement learning"
CONFIRMED = "person"
KINDS = ("loss: value or gradient not finite", "activation: missing or wrong")
VISIBLE = False
EVIDENCE = (
    "the probabilities of the first batch are 0.09 to 0.31, and all numbers are finite in both forms; a"
    " probability of 0 would take many steps at a rate of 0.0001. Not reproduced: no NaN within these steps, and"
    " neither form learns to hunt"
)
REPRODUCED = False
AGENTS, ACTIONS, STATE, GAMES, STEPS, BATCH = 2, 5, 8, 16, 150, 64
PUSHES = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])


class Sampled(layers.Layer):
    """A relaxed draw of an action at a temperature of 0.5, from probabilities or from logits."""

    def __init__(self, logits, **kwargs):
        super().__init__(**kwargs)
        self.logits = logits
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs):
        scores = inputs if self.logits else ops.log(inputs)
        noise = keras.random.uniform(ops.shape(inputs), 1e-30, 1, seed=self.seed_generator)
        return ops.softmax((scores - ops.log(-ops.log(noise) + 1e-30)) / 0.5)


def make_actor(repaired):
    activation = "tanh" if repaired else "relu"
    last = layers.Dense(ACTIONS, None if repaired else "softmax")
    return keras.Sequential(
        [keras.Input((STATE,)), layers.Dense(64, activation), layers.Dense(48, activation), last, Sampled(repaired)]
    )


def make_critic():
    states, actions = keras.Input((STATE,)), keras.Input((AGENTS * ACTIONS,))
    hidden = layers.Dense(48)(layers.Dense(64, "relu")(states))
    hidden = ops.relu(hidden + layers.Dense(48)(actions))
    model = keras.Model([states, actions], layers.Dense(1, kernel_initializer="random_uniform")(hidden))
    model.compile("adam", "mse")
    return model


def ascent(gradients, actions):
    """The actor goes up the gradient of the critic with regard to the actions."""
    return -ops.sum(gradients * actions)


class Plane:
    """Places and speeds of a hunter and a prey in several games; an action is a share of each push."""

    def __init__(self, rng, games):
        self.places, self.speeds = rng.uniform(-1, 1, (games, AGENTS, 2)), np.zeros((games, AGENTS, 2))

    def states(self):
        own, other = self.places, self.places[:, ::-1]
        return np.concatenate([self.speeds, own, other - own, self.speeds[:, ::-1]], -1).astype("float32")

    def distances(self):
        return np.sqrt(((self.places[:, 0] - self.places[:, 1]) ** 2).sum(-1))

    def step(self, actions):
        self.speeds = 0.75 * self.speeds + 0.1 * np.array([3, 4])[:, None] * (actions @ PUSHES)
        self.places = (self.places + 0.1 * self.speeds).clip(-1.5, 1.5)
        distances = self.distances()
        caught = 10.0 * (distances < 0.15)
        outside = (np.abs(self.places[:, 1]) > 1).sum(-1)
        return np.stack([caught - 0.1 * distances, 0.1 * distances - caught - outside], 1)


def move(target, main):
    """The target network goes 0.001 of the way."""
    weights = [0.001 * new + 0.999 * old for new, old in zip(main.get_weights(), target.get_weights(), strict=True)]
    target.set_weights(weights)


def slopes(critic, states, actions, agent):
    """The gradient of the critic with regard to the actions of an agent, by central differences."""
    found = np.zeros((len(states), ACTIONS), "float32")
    for action in range(ACTIONS):
        shift = np.zeros_like(actions)
        shift[:, agent * ACTIONS + action] = 0.05
        values = [ops.convert_to_numpy(critic([states, actions + sign * shift])) for sign in (1, -1)]
        found[:, action] = (values[0] - values[1])[:, 0] / 0.1
    return found


def build(repaired):
    actors, critics = [make_actor(repaired) for _ in range(AGENTS)], [make_critic() for _ in range(AGENTS)]
    targets = [[make_actor(repaired) for _ in range(AGENTS)], [make_critic() for _ in range(AGENTS)]]
    for mains, copies in zip((actors, critics), targets, strict=True):
        for main, copy in zip(mains, copies, strict=True):
            copy.set_weights(main.get_weights())
    for actor in actors:
        actor.compile(keras.optimizers.Adam(1e-4), ascent)
    model = actors[0]
    model.everything, model.repaired = (actors, critics, *targets), repaired
    x = Plane(np.random.default_rng(0), BATCH).states()
    actions = np.concatenate([ops.convert_to_numpy(actor(x[:, at])) for at, actor in enumerate(actors)], -1)
    return model, x[:, 0], slopes(critics[0], x[:, 0], actions, 0)


def train(model, x, y):
    actors, critics, target_actors, target_critics = model.everything
    rng, memory = np.random.default_rng(1), []
    noise = np.zeros((GAMES, AGENTS, ACTIONS))

    def chosen(players, states):
        return np.stack([ops.convert_to_numpy(player(states[:, at])) for at, player in enumerate(players)], 1)

    for step in range(STEPS):
        if step % 25 == 0:
            plane = Plane(rng, GAMES)
        states = plane.states()
        noise += -0.15 * 0.01 * noise + 0.3 * 0.1 * rng.normal(size=noise.shape)
        actions = (chosen(actors, states) + noise).astype("float32")
        if not np.isfinite(actions).all():
            return  # nothing changes any more
        rewards = plane.step(actions)
        memory += list(zip(states, actions, rewards, plane.states(), strict=True))
        if len(memory) <= BATCH:
            continue
        for agent in range(AGENTS):
            rows = [memory[at] for at in rng.integers(0, len(memory), BATCH)]
            now, did, won, then = (np.stack(part).astype("float32") for part in zip(*rows, strict=True))
            later = chosen(target_actors, then if model.repaired else now).reshape(BATCH, -1)
            values = ops.convert_to_numpy(target_critics[agent]([then[:, agent], later]))
            wanted = won[:, agent, None] + 0.99 * values
            critics[agent].train_on_batch([now[:, agent], did.reshape(BATCH, -1)], wanted)
            present = chosen(actors, now if model.repaired else then).reshape(BATCH, -1)
            up = slopes(critics[agent], now[:, agent], present, agent)
            actors[agent].train_on_batch(now[:, agent], up)
            move(target_actors[agent], actors[agent])
            move(target_critics[agent], critics[agent])


def score(model, x, y):
    mean = []
    for hunter in (model, None):
        rng = np.random.default_rng(2)
        plane, found = Plane(rng, 200), []
        for _ in range(25):
            actions = np.eye(ACTIONS)[rng.integers(0, ACTIONS, (200, AGENTS))]
            if hunter is not None:
                actions[:, 0] = ops.convert_to_numpy(hunter(plane.states()[:, 0]))
            plane.step(actions)
            found.append(plane.distances().mean())
        mean.append(np.mean(found[5:]))
    return float(np.clip(1 - mean[0] / mean[1], 0, 1))
