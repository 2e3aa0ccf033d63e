"""Digits by a small convolutional network with one-hot labels.

After keras.io examples/keras_recipes/sklearn_metric_callbacks.py.
"""

import keras
from _shared import digits
from keras import layers

URL = "https://keras.io/examples/keras_recipes/sklearn_metric_callbacks/"


def build():
    x, y = digits(28)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model, x, keras.utils.to_categorical(y, 10)
