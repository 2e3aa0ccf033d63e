"""A stacked autoencoder of ReLUs for digits, layer by layer and then as a whole: does not converge with its settings.

Fault: a rate of 0.1 with momentum, lowered to a tenth every 20000 steps (code of ten ReLUs, layers of 500, 500 and
2000). Repair (the asker): a rate of 0.001, lowered to 0.7 and 0.6 instead, layers of 500, 300 and 150 and a dropout
of 0.3 instead of 0.2. The repaired form also has the weights of He, as the signal vanishes over eight layers with
those of the faulty one. Here all layers are a quarter as wide, with weights twice as large for as much signal;
digits of 8 x 8, enlarged to 28 x 28, from 0 to 5.1 as in the repository; 100 steps for each layer (50000 there; the
asker takes 150000), and 300 for the whole (100000). Biases have the rate of the weights (twice as much in the
repository).
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/apache/mxnet/issues/4640"
YEAR = 2017
TOPIC = "autoencoders"
CONFIRMED = "person"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "only the rate (0.1, not 0.001) and the weights (a first loss of 5.4, not 9.2) differ at the start. Not"
    " reproduced: the score of both forms is 0. In the faulty form 98 % of the units of the first layer are dead"
    " after 100 steps at its rate, and it gives the mean of the digits; the repaired form keeps most of them (34 %"
    " dead), but would need the many steps of the report"
)
REPRODUCED = False
STEPS = 100


def halves(y_true, y_pred):
    return ops.mean(ops.square(y_pred - y_true)) / 2


def descent(repaired, factor):
    rate, factor = (0.001, factor) if repaired else (0.1, 0.1)
    schedule = keras.optimizers.schedules.ExponentialDecay(rate, STEPS * 2 // 5, factor, staircase=True)
    return keras.optimizers.SGD(schedule, momentum=0.9)


def build(repaired):
    sizes = (784, 125, 75, 38, 10) if repaired else (784, 125, 125, 500, 10)
    share = 0.3 if repaired else 0.2
    last = len(sizes) - 2

    def dense(units, activation, scale):
        weights = "he_normal" if repaired else keras.initializers.RandomUniform(-scale, scale)
        return layers.Dense(units, activation, kernel_initializer=weights)

    encoders = [dense(units, "relu", 0.14 if at else 0.07) for at, units in enumerate(sizes[1:])]
    decoders = [dense(units, "relu" if at else None, 0.14) for at, units in enumerate(sizes[:-1])]
    stacks = []
    for at, size in enumerate(sizes[:-1]):
        hidden = inputs = keras.Input((size,))
        if at:
            hidden = layers.Dropout(share)(hidden)
        hidden = encoders[at](hidden)
        if at < last:
            hidden = layers.Dropout(share)(hidden)
        stack = keras.Model(inputs, decoders[at](hidden))
        stack.compile(descent(repaired, 0.7), halves)
        stacks.append((stack, encoders[at]))
    hidden = inputs = keras.Input((784,))
    for layer in encoders + decoders[::-1]:
        hidden = layer(hidden)
    model = keras.Model(inputs, hidden)
    model.compile(descent(repaired, 0.6), halves)
    model.stacks = stacks
    rows = ((np.arange(28) + 0.5) * 8 / 28).astype(int)
    x = (load_digits().images[:, rows][:, :, rows].reshape(-1, 784) / 16 * 255 * 0.02).astype("float32")
    return model, x, x


def batches(model, x, steps, rng):
    for _ in range(steps):
        batch = x[rng.integers(0, len(x), 256)]
        model.train_on_batch(batch, batch)


def train(model, x, y):
    rng, hidden = np.random.default_rng(1), x
    for stack, encoder in model.stacks:
        batches(stack, hidden, STEPS, rng)
        hidden = ops.convert_to_numpy(encoder(hidden))
    batches(model, x, 3 * STEPS, rng)


def score(model, x, y):
    return explained(predictions(model, x) - y.mean(0), y - y.mean(0))
