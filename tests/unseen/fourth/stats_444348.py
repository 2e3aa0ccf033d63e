"""The vote of the majority of three bits is learned by ten units and one more: 67 % are right, as by a blind guess.

Fault: the last layer is a softmax of one unit, which gives 1 for every input.
Repair (a comment, confirmed by the asker's own answer): a sigmoid, outputs compared with 0.5, and 300 epochs.
The score does not depend on the threshold. 80 epochs, and no cross-validation.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers

URL = "https://stats.stackexchange.com/questions/444348/learning-a-simple-majority-vote-model-with-a-neural-network"
YEAR = 2020
TOPIC = "regression on tables"
CONFIRMED = "asker"
KINDS = ("last layer: softmax of one unit, or along a wrong axis",)
VISIBLE = True
EVIDENCE = "the outputs are exactly 1 for all of the 100 cases, and the gradients of all weights exactly 0"
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    x = (rng.random((100, 3)) < [0.8, 0.48, 0.5]).astype("float32")
    y = (x.sum(1) > 1).astype("float32")
    last = "sigmoid" if repaired else "softmax"
    model = keras.Sequential([keras.Input((3,)), layers.Dense(10, "relu"), layers.Dense(1, last)])
    model.compile("rmsprop", "binary_crossentropy")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=len(x) // 5 + 1, epochs=80, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x), y)
