"""Next character of a text by one LSTM over one-hot characters.

After keras.io examples/generative/lstm_character_level_text_generation.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/generative/lstm_character_level_text_generation/"

LENGTH, STEP = 40, 3
TEXT = (
    "the value of a thing lies not in what one reaches with it but in what one pays for it, what it costs us. "
    "all that is done for love always takes place beyond good and evil. the errors of great men are worth more "
    "than the truths of small ones. one must still have chaos in oneself to give birth to a dancing star. "
    "without music life would be a mistake. whoever fights with monsters should see to it that he does not "
    "become a monster himself, and if you gaze long into an abyss the abyss also gazes into you. "
)


def build():
    letters = sorted(set(TEXT))
    numbers = np.array([letters.index(letter) for letter in TEXT * 2])
    starts = np.arange(0, len(TEXT), STEP)
    rows = np.eye(len(letters), dtype="float32")
    x = rows[numbers[starts[:, None] + np.arange(LENGTH)]]
    y = rows[numbers[starts + LENGTH]]
    model = keras.Sequential(
        [keras.Input((LENGTH, len(letters))), layers.LSTM(48), layers.Dense(len(letters), activation="softmax")]
    )
    model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.RMSprop(learning_rate=0.01))
    return model, x, y
