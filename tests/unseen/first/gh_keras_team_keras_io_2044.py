"""The text example of keras.io with an LSTM instead of its convolutions: accuracy 0.5; reading backwards, it learns.

Fault: the texts are padded with zeros behind, and the LSTM reads hundreds of them after the last word: it forgets.
Repair (maintainer): `mask_zero=True` in the embedding; the asker agrees.
Here texts of 8 to 20 words in 120 instead of 500 places, and smaller layers.
"""

import keras
import numpy as np
from _program import predictions, separated

URL = "https://github.com/keras-team/keras-io/issues/2044"
YEAR = 2025
TOPIC = "text and sequences"
CONFIRMED = "maintainer"
KINDS = ("recurrence: memory",)
VISIBLE = True
EVIDENCE = (
    "All texts get the same output (spread 0); the gradient of the word vectors is 8e-11, that of the "
    "zero's vector 1e-3."
)
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    x = np.zeros((300, 120), "int32")
    for text, label in zip(x, y, strict=True):
        words = rng.integers(1, 180, rng.integers(8, 21))
        # Every third word comes from the words of praise or from those of blame.
        words[::3] = 180 + 10 * label + rng.integers(0, 10, len(words[::3]))
        text[: len(words)] = words

    model = keras.Sequential(
        [
            keras.Input((120,), dtype="int32"),
            keras.layers.Embedding(200, 32, mask_zero=repaired),
            keras.layers.Dropout(0.5),
            keras.layers.LSTM(32),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(loss="binary_crossentropy", optimizer="adam")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=6, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x), y)
