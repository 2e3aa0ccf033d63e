"""A transformer shortens texts of 200 words to 10: the cost stays above 4; translation went well with the same model.

Fault: the rate rises too fast at the start of the training.
Repair (maintainer; "the warm up steps works", the asker): many more steps of warm-up; half the length helped further.
Here one layer of encoder and decoder, source texts of 40 symbols, targets of 5, and a warm-up of 20 or 160 steps.
"""

import keras
import numpy as np
from _program import accuracy

URL = "https://github.com/tensorflow/tensor2tensor/issues/105"
YEAR = 2017
TOPIC = "text and sequences"
CONFIRMED = "asker"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "The loss is 2.5 after 300 steps (log 20 = 3.0), and 0.17 with the longer warm-up; the first batch looks the same."
)
REPRODUCED = True

WIDTH = 32


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, steps):
        self.steps = steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32") + 1
        return WIDTH**-0.5 * keras.ops.minimum(step**-0.5, step * self.steps**-1.5)


def block(queries, keys, causal=False):
    layers = keras.layers
    seen = layers.MultiHeadAttention(4, WIDTH // 4)(queries, keys, use_causal_mask=causal)
    return layers.LayerNormalization()(queries + seen)


def dense(hidden):
    layers = keras.layers
    return layers.LayerNormalization()(hidden + layers.Dense(WIDTH)(layers.Dense(64, activation="relu")(hidden)))


def build(repaired):
    rng = np.random.default_rng(0)
    source = rng.integers(1, 20, (400, 40))
    y = source[:, :5].copy()
    places = keras.ops.convert_to_tensor(rng.normal(0, 1, (40, WIDTH)).astype("float32"))
    inputs, given = keras.Input((40,), dtype="int32"), keras.Input((5,), dtype="int32")
    symbols = keras.layers.Embedding(20, WIDTH)
    encoded = symbols(inputs) * WIDTH**0.5 + places
    encoded = dense(block(encoded, encoded))
    decoded = symbols(given) * WIDTH**0.5 + places[:5]
    decoded = dense(block(block(decoded, decoded, causal=True), encoded))
    model = keras.Model([inputs, given], keras.layers.Dense(20, activation="softmax")(decoded))
    optimizer = keras.optimizers.Adam(WarmUp(160 if repaired else 20), beta_2=0.98, epsilon=1e-9)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer)
    return model, [source, np.pad(y, ((0, 0), (1, 0)))[:, :5]], y


def train(model, x, y):
    model.fit(x, y, batch_size=20, epochs=15, verbose=0)


def score(model, x, y):
    return accuracy(np.asarray(model.predict(x, verbose=0), "float64"), y)
