"""Reviews by a bidirectional LSTM with maxima over time.

After keras.io examples/nlp/active_learning_review_classification.py.
"""

import keras
from _shared import reviews
from keras import layers

URL = "https://keras.io/examples/nlp/active_learning_review_classification/"


def build():
    x, y = reviews(600, 48)
    model = keras.Sequential(
        [
            keras.Input((48,)),
            layers.Embedding(600, 48),
            layers.Bidirectional(layers.LSTM(16, return_sequences=True)),
            layers.GlobalMaxPool1D(),
            layers.Dense(20, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        loss="binary_crossentropy",
        optimizer="rmsprop",
        metrics=[keras.metrics.BinaryAccuracy(), keras.metrics.FalseNegatives(), keras.metrics.FalsePositives()],
    )
    return model, x, y
