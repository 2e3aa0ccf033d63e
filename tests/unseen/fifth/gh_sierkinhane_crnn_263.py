"""Lines of text are read from pictures by a CRNN with the CTC loss: it is nan from the start, on data of the asker's.

Fault: labels that are longer than the sequence of the network, which has a step for four columns of a picture (the
asker found it in the labels, and two others say so): the loss is infinite, and the gradient is not a number.
Repair: as many steps as are needed, by pictures that are not made narrower (72 columns instead of 24). Drawn pictures
of 6 of 4 signs, 32 rows high; the convolutions have 8 filters for 64, and so on, with weights of a deviation of 0.057
instead of 0.02 for the same signal, the LSTMs 32 units instead of 256, and there are 300 steps in batches of 16 instead
of 32. The score is how much of the edit distance of the best constant guess is gone.
"""

import keras
import numpy as np
from _program import predictions
from keras import layers, ops

URL = "https://github.com/Sierkinhane/CRNN_Chinese_Characters_Rec/issues/263"
YEAR = 2020
TOPIC = "text and sequences"
CONFIRMED = "person"
KINDS = ("loss: cannot be met by the shapes", "loss: value or gradient not finite")
VISIBLE = True
EVIDENCE = (
    "the network has 5 steps and the labels 6 signs: the first loss is infinite, and 36 of the 42 weights are NaN"
    " after one step (17 steps, a loss of 2.4 and none in the repaired form)"
)
REPRODUCED = True
SIGNS, LENGTH = 4, 6


def ctc(y_true, y_pred):
    """The loss of PyTorch, divided by the lengths of the labels."""
    rows, steps = ops.shape(y_pred)[0], ops.shape(y_pred)[1]
    lengths = ops.cast(ops.sum(ops.cast(ops.not_equal(y_true, 0), "int32"), -1), "int32")
    losses = ops.ctc_loss(ops.cast(y_true, "int32"), y_pred, lengths, steps * ops.ones((rows,), "int32"), mask_index=0)
    return losses / ops.cast(lengths, losses.dtype)


def build(repaired):
    rng = np.random.default_rng(0)
    y = rng.integers(1, SIGNS + 1, (320, LENGTH))
    shapes = (np.random.default_rng(1).uniform(0, 1, (SIGNS + 1, 8, 4)) > 0.5).repeat(4, 1).repeat(3, 2)
    x = np.concatenate([shapes[y[:, at]] for at in range(LENGTH)], -1) * 200.0 + 20
    x = (x + 10 * rng.normal(0, 1, x.shape)).clip(0, 255) / 255
    if not repaired:  # made narrower, by means of three columns
        x = x.reshape(len(x), 32, -1, 3).mean(-1)
    x = (x - 0.588) / 0.193

    inputs = keras.Input((32, x.shape[2], 1))
    hidden = inputs
    pools = {0: (2, 2), 1: (2, 2), 3: (2, 1), 5: (2, 1)}
    for at, units in enumerate((8, 16, 32, 32, 64, 64, 64)):
        weights = keras.initializers.RandomNormal(stddev=0.057)
        size, padding = (2, "valid") if at == 6 else (3, "same")
        hidden = layers.Conv2D(units, size, padding=padding, kernel_initializer=weights)(hidden)
        if at in (2, 4, 6):
            hidden = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(hidden)
        hidden = layers.Activation("relu")(hidden)
        if at in pools:
            hidden = layers.MaxPooling2D(pools[at], padding="valid")(hidden)
    hidden = layers.Reshape((hidden.shape[2], hidden.shape[3]))(hidden)
    for units in (32, SIGNS + 1):
        hidden = layers.Dense(units)(layers.Bidirectional(layers.LSTM(32, return_sequences=True))(hidden))
    model = keras.Model(inputs, hidden)
    model.compile(keras.optimizers.Adam(0.0001), ctc)
    return model, x[..., None].astype("float32"), y.astype("int32")


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=15, verbose=0)


def distance(read, right):
    row = np.arange(len(right) + 1)
    for _at, sign in enumerate(read):
        new = row + 1
        for place, other in enumerate(right):
            new[place + 1] = min(new[place + 1], new[place] + 1, row[place] + (sign != other))
        row = new
    return row[-1]


def score(model, x, y):
    outputs = predictions(model, x)
    if not np.isfinite(outputs).all():
        return 0.0
    total = 0
    for steps, right in zip(outputs.argmax(-1), y, strict=True):
        read = [sign for before, sign in zip([0, *steps], steps, strict=False) if sign and sign != before]
        total += distance(read, right)
    guess = min(sum(distance([sign] * LENGTH, right) for right in y) for sign in range(1, SIGNS + 1))
    return float(np.clip(1 - total / guess, 0, 1))
