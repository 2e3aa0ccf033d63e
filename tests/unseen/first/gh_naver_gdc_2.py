"""A language model is trained toward a constraint on its samples by their weights: it converges far too slowly.

Fault: the learning rate in the configuration is lower than the one of the paper (here by 10).
Repair (maintainer): the rate of the paper.
"""

import keras
import numpy as np
from _program import predictions

URL = "https://github.com/naver/gdc/issues/2"
YEAR = 2021
TOPIC = "generative adversarial networks"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too small",)
VISIBLE = False
EVIDENCE = "none: the rate is somewhat too small, all else is ordinary"
REPRODUCED = True

LENGTH = 5


def build(repaired):
    # Samples of the first model, all tokens alike; the constraint: no token above 6. Their weights are 1 or 0.
    tokens = np.random.default_rng(0).integers(0, 10, (1536, LENGTH))
    weights = np.repeat((tokens < 7).all(1)[:, None], LENGTH, 1)
    x = np.concatenate([np.full((1536, 1), 10), tokens[:, :-1]], 1)
    model = keras.Sequential(
        [
            keras.layers.Input((LENGTH,)),
            keras.layers.Embedding(11, 8),
            keras.layers.GRU(16, return_sequences=True),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )

    def loss(y_true, y_pred):
        target = keras.ops.one_hot(keras.ops.cast(y_true[..., 0], "int32"), 10)
        return -keras.ops.mean(y_true[..., 1] * keras.ops.sum(target * keras.ops.log(y_pred + 1e-9), -1))

    model.compile(optimizer=keras.optimizers.Adam(0.01 if repaired else 0.001), loss=loss)
    return model, x, np.stack([tokens, weights], -1).astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=64, epochs=5, verbose=0)


def score(model, x, y):
    """Sample from the model and compare how many samples keep to the constraint, with its first share."""
    rng = np.random.default_rng(0)
    tokens = np.full((512, LENGTH + 1), 10)
    for step in range(LENGTH):
        chances = predictions(model, tokens[:, :LENGTH])[:, step].cumsum(-1)
        tokens[:, step + 1] = (rng.random((512, 1)) > chances).sum(-1).clip(0, 9)
    kept, first = np.mean((tokens[:, 1:] < 7).all(1)), 0.7**LENGTH
    return float(np.clip((kept - first) / (1 - first), 0, 1))
