"""Letters seen once are named by a network with memory, in a homework's own loop: flat loss, accuracy at chance.

Fault: too few steps: 3200, when the loss starts to fall after 3000 to 4000 of 50000.
Repair (the maintainer, confirmed by the asker, who saw it learn): all steps. The repaired form also has a linear layer
after the second LSTM, whose outputs, never beyond 1, are the logits. Two classes in a task instead of five, pictures of
8 x 8 drawn from 40 prototypes instead of Omniglot's of 28 x 28, 64 units instead of 128; 100 steps instead of 3200, and
1200 instead of 50000.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/Luvata/CS330-Stanford-Deep-Multi-Task-and-Meta-Learning/issues/6"
YEAR = 2020
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "maintainer"
KINDS = ("training: epochs, batches, order", "activation: missing or wrong")
VISIBLE = False
EVIDENCE = (
    "weights, signals and gradients of the first steps are those of the repaired form (first loss 0.69, gradient of the"
    " first kernel 0.03 to 0.04 against 0.004 to 0.1); only the steps are few. The outputs of an LSTM, within"
    " 1, as logits"
    " stem from the homework on purpose; all steps without the linear layer give 0.74 to 0.78, too"
)
REPRODUCED = True
CLASSES, UNITS, LETTERS, TASKS = 2, 64, 40, 16


def tasks(rng, count):
    """Return tasks: letters with their names, then other pictures of them without; and the names of the latter."""
    prototypes = np.random.default_rng(0).random((LETTERS, 64)) < 0.25
    x = np.zeros((count, 2 * CLASSES, 64 + CLASSES), "float32")
    y = np.zeros((count, CLASSES, CLASSES), "float32")
    for at in range(count):
        chosen = rng.choice(LETTERS, CLASSES, replace=False)
        for half in range(2):
            order = rng.permutation(CLASSES)
            flips = rng.random((CLASSES, 64)) < 0.03
            x[at, half * CLASSES : (half + 1) * CLASSES, :64] = prototypes[chosen[order]] ^ flips
            if half == 0:
                x[at, :CLASSES, 64:] = np.eye(CLASSES)[order]
            else:
                y[at] = np.eye(CLASSES)[order]
    return x, y


def entropy(y_true, y_pred):
    """The loss of the homework: only the last pictures count."""
    return -ops.mean(ops.sum(y_true * ops.log_softmax(y_pred), -1))


def build(repaired):
    model = keras.Sequential(
        [
            keras.Input((2 * CLASSES, 64 + CLASSES)),
            layers.LSTM(UNITS, return_sequences=True),
            layers.LSTM(CLASSES, return_sequences=True),
        ]
    )
    if repaired:
        model.add(layers.Dense(CLASSES))
    model.add(layers.Lambda(lambda outputs: outputs[:, CLASSES:]))
    model.compile(keras.optimizers.Adam(0.001), entropy)
    model.steps = 1200 if repaired else 100
    return model, *tasks(np.random.default_rng(1), 500)


def train(model, x, y):
    rng = np.random.default_rng(2)
    for _ in range(model.steps):
        model.train_on_batch(*tasks(rng, TASKS))


def score(model, x, y):
    return accuracy(predictions(model, x), y)
