"""Networks of pixels, and the verdicts on them."""

import keras
import numpy as np
from keras import layers

import keras_initx

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (64, 8, 8, 3)).astype("float32")


def verdicts_on(model, x=PIXELS, **arguments):
    report = keras_initx.diagnose(model, x, **arguments)
    return {verdict.problem: verdict for verdict in report.verdicts}


def classifier(*first, last=("softmax",), **arguments):
    hidden = [layers.Dense(64, "relu", name=f"hidden_{number}") for number in range(2)]
    head = [layers.Dense(10, name="out", **arguments), *(layers.Activation(name) for name in last)]
    return keras.Sequential([keras.Input((8, 8, 3)), *first, layers.Flatten(), *hidden, *head])
