"""A convolutional network over the characters of news chooses only one of the four classes.

Fault: the rate of 0.0005 is too large for the network as it starts.
Repair (maintainer; confirmed in issue 3 for the same behaviour): the rate becomes 0.0001, as then in the repository.
Texts of 200 characters instead of 1,014, and 32 filters instead of 256.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import initializers, layers

URL = "https://github.com/srviest/char-cnn-text-classification-pytorch/issues/5"
YEAR = 2018
TOPIC = "several labels or rare classes"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "Adam with a rate of 0.0005, below its usual 0.001; the logits of 64 texts differ by only 0.00004 in both forms"
)
REPRODUCED = False
CHARACTERS, LENGTH = 40, 200


def started(inputs):
    """Return the initializers of PyTorch for a layer with so many inputs of each unit."""
    bound = inputs**-0.5
    return {
        "kernel_initializer": initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        "bias_initializer": initializers.RandomUniform(-bound, bound),
    }


def texts():
    """Return texts of frequent words and of words of their class, from the end, one-hot, and the classes."""
    rng = np.random.default_rng(0)
    words = [rng.integers(0, CHARACTERS, rng.integers(4, 9)) for _ in range(60)]
    y = rng.integers(0, 4, 320)
    x = np.zeros((320, LENGTH, CHARACTERS), "float32")
    for text, kind in zip(x, y, strict=True):
        chosen = [words[rng.integers(40) if rng.random() < 0.6 else 40 + 5 * kind + rng.integers(5)] for _ in range(50)]
        line = np.concatenate(chosen)[: rng.integers(120, LENGTH)][::-1]
        text[np.arange(len(line)), line] = 1
    return x, y.astype("int32")


def build(repaired):
    x, y = texts()
    model = keras.Sequential([keras.Input((LENGTH, CHARACTERS))])
    for inputs, kernel, pooled in ((40, 7, 3), (32, 7, 3), (32, 3, 0), (32, 3, 0), (32, 3, 0), (32, 3, 3)):
        model.add(layers.Conv1D(32, kernel, activation="relu", **started(inputs * kernel)))
        if pooled:
            model.add(layers.MaxPooling1D(pooled))
    model.add(layers.Flatten())
    for inputs in (model.output_shape[-1], 128):
        model.add(layers.Dense(128, "relu", **started(inputs)))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(4, **started(128)))
    rate = 0.0001 if repaired else 0.0005
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=400.0), loss)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=30, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
