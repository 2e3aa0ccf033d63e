"""Horses or humans by five convolutions, gradients less their mean.

After keras.io examples/vision/gradient_centralization.py.
"""

import keras
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/gradient_centralization/"


class CentralizedRMSprop(keras.optimizers.RMSprop):
    def apply(self, grads, trainable_variables=None):
        centred = [
            g - ops.mean(g, axis=list(range(len(g.shape) - 1)), keepdims=True) if len(g.shape) > 1 else g for g in grads
        ]
        return super().apply(centred, trainable_variables)


def build():
    x, y = pictures(2, 96, count=96)
    model = keras.Sequential([keras.Input((96, 96, 3))])
    for filters in (8, 16, 24, 24, 24):
        model.add(layers.Conv2D(filters, (3, 3), activation="relu"))
        if filters == 16:
            model.add(layers.Dropout(0.5))
        model.add(layers.MaxPooling2D(2, 2))
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(loss="binary_crossentropy", optimizer=CentralizedRMSprop(learning_rate=1e-4), metrics=["accuracy"])
    return model, x, y.astype("float32")
