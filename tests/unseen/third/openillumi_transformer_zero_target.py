"""A Transformer turns sequences of many features into others: its outputs are nearly the same at every step.

Fault: the decoder is fed with zeros.
Repair (answer as told by the page): the true sequence, shifted by a step, as input of the decoder.
The stored page names no widths, loss and optimizer: MSE, Adam with 0.001; 24 steps of 8 features instead of 499 of 128.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers

URL = "https://openillumi.com/en/en-pytorch-transformer-multidim-output-same-fix"
YEAR = 2022
TOPIC = "text and sequences"
CONFIRMED = "votes"
KINDS = ("inputs: other (wrong axis, all alike, no information)",)
VISIBLE = True
EVIDENCE = "the second input, that of the decoder, is 0 everywhere"
REPRODUCED = True
STEPS, FEATURES, WIDTH, HEADS = 24, 8, 32, 2


def places(steps):
    angles = np.arange(steps)[:, None] / 10000 ** (np.arange(0, WIDTH, 2) / WIDTH)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(steps, WIDTH).astype("float32")


def added(flow, other):
    return layers.LayerNormalization(epsilon=1e-5)(flow + layers.Dropout(0.1)(other))


def forward(flow):
    inner = layers.Dropout(0.1)(layers.Dense(4 * WIDTH, activation="relu")(flow))
    return added(flow, layers.Dense(WIDTH)(inner))


def build(repaired):
    rng = np.random.default_rng(0)
    count, time = 320, np.arange(STEPS)
    phases, rates = rng.uniform(0, 2 * np.pi, (2, count, 1, FEATURES))
    source = np.sin(phases + (0.2 + 0.1 * rates) * time[None, :, None])
    target = np.tanh(source @ rng.normal(0, 0.6, (FEATURES, FEATURES))) + 0.1 * rng.normal(size=source.shape)
    source, target = source.astype("float32"), target.astype("float32")
    before = target[:, :-1] if repaired else np.zeros_like(target[:, :-1])

    inputs = [keras.Input((STEPS, FEATURES)), keras.Input((STEPS - 1, FEATURES))]
    memory = layers.Dense(WIDTH)(inputs[0]) + places(STEPS)
    flow = layers.Dense(WIDTH)(inputs[1]) + places(STEPS - 1)
    for _ in range(2):
        memory = forward(added(memory, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(memory, memory)))
    memory = layers.LayerNormalization(epsilon=1e-5)(memory)
    for _ in range(2):
        attended = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(flow, flow, use_causal_mask=True)
        flow = added(flow, attended)
        flow = forward(added(flow, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(flow, memory)))
    model = keras.Model(inputs, layers.Dense(FEATURES)(layers.LayerNormalization(epsilon=1e-5)(flow)))
    model.compile(keras.optimizers.Adam(0.001), "mse")
    return model, [source, before], target[:, 1:]


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=12, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
