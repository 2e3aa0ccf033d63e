"""Speech is written down by convolutions and recurrent layers in two directions: negative losses, and no step is taken.

Fault: the loss of the alignments (CTC) of the framework takes logarithms of probabilities, and gets raw outputs.
Repair (the asker): a logarithm of the softmax as the last activation in training. Steps of a negative loss are left
out, as in the report ("then the parameters don't update"). Smaller: 8 filters instead of 32, two recurrent layers of
24 instead of several of hundreds, spectrograms of 32 steps of 16 numbers, normalized as in the repository (mean 0,
variance 1), three of six letters each. Gradient descent with a momentum of 0.9 as there; the rate is 0.01 (0.0003
there, for many more steps).
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://github.com/SeanNaren/deepspeech.pytorch/issues/488"
YEAR = 2020
TOPIC = "text and sequences"
CONFIRMED = "person"
KINDS = ("loss: probabilities and logits confused", "activation: missing or wrong")
VISIBLE = True
EVIDENCE = (
    "the first loss is negative (about -11), and the exponentials of the outputs of a step sum up to about 7"
    " instead of 1"
)
REPRODUCED = True
LETTERS, LENGTH, STEPS = 6, 3, 32


def alignments(y_true, y_pred):
    """The negative logarithm of the sum over all alignments of the products of the outputs; number 0 is the blank."""
    labels = ops.cast(y_true, "int32")
    blanks = ops.zeros_like(labels)
    places = ops.reshape(ops.stack([blanks, labels], -1), (-1, 2 * LENGTH))
    places = ops.concatenate([places, blanks[:, :1]], -1)
    differs = ops.not_equal(places[:, 2:], places[:, :-2])
    jumps = ops.where(differs, 0.0, -1e9)
    logs = ops.take_along_axis(y_pred, ops.repeat(places[:, None], y_pred.shape[1], 1), -1)
    never = ops.full_like(logs[:, 0, :1], -1e9)
    sums = ops.concatenate([logs[:, 0, :2], ops.repeat(never, 2 * LENGTH - 1, 1)], -1)
    for step in range(1, y_pred.shape[1]):
        one = ops.concatenate([never, sums[:, :-1]], -1)
        two = ops.concatenate([never, never, sums[:, :-2] + jumps], -1)
        sums = ops.logsumexp(ops.stack([sums, one, two]), axis=0) + logs[:, step]
    return -ops.logsumexp(sums[:, -2:], axis=-1)


def build(repaired):
    rng = np.random.default_rng(0)
    y = rng.integers(1, LETTERS + 1, (256, LENGTH))
    sounds = rng.normal(size=(LETTERS + 1, 16)) * 2
    sounds[0] = 0
    x = np.zeros((256, STEPS, 16))
    for at, letters in enumerate(y):
        start = rng.integers(1, 4)
        for letter in letters:
            length = rng.integers(5, 8)
            x[at, start : start + length] = sounds[letter]
            start += length + rng.integers(1, 3)
    x = x + 0.3 * rng.normal(size=x.shape)
    x = (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)
    inputs = keras.Input((STEPS, 16, 1))
    hidden = inputs
    for strides in ((2, 2), (1, 2)):
        hidden = layers.Conv2D(8, (5, 5), strides, padding="same")(hidden)
        hidden = ops.clip(layers.BatchNormalization()(hidden), 0, 20)
    hidden = layers.Reshape((STEPS // 2, 32))(hidden)
    for at in range(2):
        if at:
            hidden = layers.BatchNormalization()(hidden)
        hidden = layers.Bidirectional(layers.LSTM(24, return_sequences=True), merge_mode="sum")(hidden)
    outputs = layers.Dense(LETTERS + 1, use_bias=False)(layers.BatchNormalization()(hidden))
    if repaired:
        outputs = layers.Activation("log_softmax")(outputs)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, clipnorm=400), alignments)
    return model, x[..., None].astype("float32"), y.astype("int32")


def train(model, x, y):
    for epoch in range(30):
        order = np.random.default_rng(epoch).permutation(len(x))
        for at in range(0, len(x), 32):
            rows = order[at : at + 32]
            if float(model.test_on_batch(x[rows], y[rows])) >= 0:
                model.train_on_batch(x[rows], y[rows])


def score(model, x, y):
    """The share of the letters that are right and at their places, after leaving out blanks and repeats."""
    best = np.asarray(model.predict(x, verbose=0)).argmax(-1)
    right = 0
    for row, letters in zip(best, y, strict=True):
        found = [value for value, before in zip(row, [0, *row[:-1]], strict=True) if value and value != before]
        right += sum(a == b for a, b in zip(found, letters, strict=False)) if len(found) <= 2 * LENGTH else 0
    return max(0.0, (right / y.size - 1 / LETTERS) / (1 - 1 / LETTERS))
