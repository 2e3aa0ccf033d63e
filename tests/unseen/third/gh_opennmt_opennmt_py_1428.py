"""Speech to text, with the encoder and attention of OpenNMT: at once half of the tokens are right, and it stays so.

Fault: the targets are not what is said but the names of files, which are almost all alike.
Repair (asker): the words that are said.
The description is not stored; layers and rates follow the recipe of the program for speech, smaller.
"""

import keras
import numpy as np
from _program import predictions
from keras import layers

URL = "https://github.com/OpenNMT/OpenNMT-py/issues/1428"
YEAR = 2019
TOPIC = "text and sequences"
CONFIRMED = "asker"
KINDS = ("labels: wrong or shifted",)
VISIBLE = False
EVIDENCE = (
    "3 of 6 tokens of the targets are the same in all examples, the others are digits; but numbers of tokens do "
    "not tell names of files from words, and sequences with a fixed form are common"
)
REPRODUCED = True
WORDS, LENGTH, FRAMES, BINS, UNITS, START = 8, 6, 24, 12, 32, 18


def start():
    return keras.initializers.RandomUniform(-0.1, 0.1)


def lstm(**kwargs):
    initializers = {"kernel_initializer": start(), "recurrent_initializer": start(), "bias_initializer": start()}
    return layers.LSTM(UNITS, return_sequences=True, unit_forget_bias=False, **initializers, **kwargs)


def build(repaired):
    rng = np.random.default_rng(0)
    count = 400
    said = rng.integers(0, WORDS, (count, LENGTH))
    sounds = np.repeat(3 * rng.random((WORDS, BINS))[said], FRAMES // LENGTH, axis=1)
    audio = (sounds + 0.3 * rng.normal(size=sounds.shape)).astype("float32")
    # A name is "clip_", three tokens that are the same in all, and a number of three digits (tokens 8 to 17).
    digits = rng.permutation(1000)[:count, None] // np.array([100, 10, 1]) % 10 + WORDS
    names = np.concatenate([np.tile([0, 1, 2], (count, 1)), digits], 1)
    y = said if repaired else names
    before = np.concatenate([np.full((count, 1), START), y[:, :-1]], 1)

    inputs = [keras.Input((FRAMES, BINS)), keras.Input((LENGTH,), dtype="int32")]
    encoded = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(lstm()(inputs[0]))
    encoded = lstm()(layers.MaxPooling1D(2)(encoded))
    encoded = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(encoded)
    decoded = lstm()(layers.Embedding(START + 1, UNITS, embeddings_initializer=start())(inputs[1]))
    query = layers.Dense(UNITS, use_bias=False, kernel_initializer=start())(decoded)
    found = layers.AdditiveAttention()([query, encoded])
    joined = layers.Concatenate()([found, decoded])
    joined = layers.Dense(UNITS, activation="tanh", kernel_initializer=start())(joined)
    outputs = layers.Dense(START, kernel_initializer=start())(layers.Dropout(0.1)(joined))
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(0.003, global_clipnorm=100.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model, [audio, before.astype("int32")], y.astype("int32")


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=8, verbose=0)


def score(model, x, y):
    # How much of the way from the best constant guess for each place to all right tokens was gone.
    right = np.mean(predictions(model, x).argmax(-1) == y)
    guess = np.mean([np.bincount(place).max() / len(place) for place in y.T])
    return max(0, (right - guess) / (1 - guess))
