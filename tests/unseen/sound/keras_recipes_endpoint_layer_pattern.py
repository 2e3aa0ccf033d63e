"""Logistic regression whose last layer takes the targets and adds the loss.

After keras.io examples/keras_recipes/endpoint_layer_pattern.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/keras_recipes/endpoint_layer_pattern/"


class Endpoint(layers.Layer):
    def __init__(self):
        super().__init__()
        self.loss_of_rows = keras.losses.BinaryCrossentropy(from_logits=True)

    def call(self, inputs):
        logits, targets = inputs
        self.add_loss(self.loss_of_rows(targets, logits))
        return ops.softmax(logits)


def build(count=128):
    rng = np.random.default_rng(0)
    x = rng.random((count, 3)).astype("float32")
    targets = (x > x.mean(axis=1, keepdims=True)).astype("float32")
    inputs, wanted = keras.Input((3,), name="inputs"), keras.Input((3,), name="targets")
    outputs = Endpoint()([layers.Dense(3)(inputs), wanted])
    model = keras.Model([inputs, wanted], outputs)
    model.compile(optimizer="adam")
    return model, [x, targets], None
