"""An LSTM with a projection is trained on long sequences: after some 1,200 steps the loss is not a number.

Fault: gradients are clipped only to a norm of 5, too much for long sequences.
Repair (asker): clip to a norm of 1.
The optimizer is not shown there: plain descent with momentum and a rate of 2.5 is assumed; the projection is a layer of
its own here, outside the recurrence, and sequences have 40 steps.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/marcovaldong/lstmp.pytorch/issues/2"
YEAR = 2020
TOPIC = "text and sequences"
CONFIRMED = "asker"
KINDS = ("depth: signal or gradient explodes", "optimizer: settings and precision")
VISIBLE = False
EVIDENCE = (
    "The loss jumps to 13 and stays (never NaN); clipped to 1 it is 1.62 = log 5 at seed 0, and learns "
    "for one seed of three."
)
REPRODUCED = False


def build(repaired):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, (200, 40))
    # The state of a step shows noisily in the inputs of this step and the one before.
    x = np.eye(5)[y] + np.eye(5)[np.roll(y, -1, 1)] + rng.normal(0, 0.3, (200, 40, 5))
    x = x.astype("float32")

    model = keras.Sequential([keras.Input((40, 5))])
    for _ in range(2):
        model.add(keras.layers.LSTM(32, return_sequences=True))
        model.add(keras.layers.Dense(16, use_bias=False))
    model.add(keras.layers.Dense(5, activation="softmax"))
    optimizer = keras.optimizers.SGD(2.5, momentum=0.9, global_clipnorm=1.0 if repaired else 5.0)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=10, epochs=6, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
