"""A network of ReLU that has to copy a number: with one more hidden layer the optimizer stops moving the weights.

Fault: all weights are drawn with a deviation of 0.001, so that signals and gradients vanish from layer to layer.
Repair (accepted answer): Xavier's initializer, and biases of 0.1.
The steps of single numbers are summed to batches of 32, which moves the weights as far.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://www.e-learn.cn/topic/463140"
YEAR = 2018
TOPIC = "autoencoders"
CONFIRMED = "accepted answer"
KINDS = ("weights: too small", "depth: signal or gradient vanishes")
VISIBLE = True
EVIDENCE = (
    "kernels deviate by 0.001; the outputs deviate by 2e-8 over the batch, and the gradient of the first kernel "
    "has a norm of 0.0015 against 191 in the repaired form"
)
REPRODUCED = True


def build(repaired):
    x = np.random.default_rng(0).uniform(-1, 1, (320, 1)).astype("float32")
    if repaired:
        start = {"kernel_initializer": "glorot_uniform", "bias_initializer": keras.initializers.Constant(0.1)}
        starts = [start] * 3
    else:
        starts = [
            {
                "kernel_initializer": keras.initializers.RandomNormal(stddev=1e-3),
                "bias_initializer": keras.initializers.RandomNormal(stddev=1e-3),
            }
            for _ in range(3)
        ]
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(16, activation="relu", **starts[0]),
            keras.layers.Dense(16, activation="relu", **starts[1]),
            keras.layers.Dense(1, **starts[2]),
            keras.layers.Rescaling(2.0),
        ]
    )
    model.compile(keras.optimizers.SGD(1e-3, clipvalue=4.5), keras.losses.MeanSquaredError(reduction="sum"))
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=32, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
