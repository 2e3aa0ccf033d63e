"""A recurrent network calls the bases of a molecule from its pileup: it does not fit a single molecule perfectly.

Fault: the network ends with a softmax, the loss takes its outputs as logits and applies a second one.
Repair (the reporter; merged by the maintainers): no softmax in training.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers

URL = "https://github.com/NVIDIA/VariantWorks/issues/166"
YEAR = 2021
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "maintainer"
KINDS = ("loss: probabilities and logits confused",)
VISIBLE = True
EVIDENCE = (
    "the outputs that the loss takes as logits are between 0.17 and 0.25 and sum to 1; the least possible loss is 0.905"
)
REPRODUCED = False


def build(repaired):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, (16, 40))  # a gap, or one of four bases
    reads = np.zeros((16, 40, 10))
    for read in range(8):
        called = np.where(rng.random(y.shape) < 0.45, rng.integers(0, 5, y.shape), y)
        strand = 5 * (read % 2)
        for base in range(5):
            reads[..., strand + base] += (called == base) / 8
    model = keras.Sequential([keras.Input((40, 10))])
    for _ in range(2):
        model.add(layers.Bidirectional(layers.GRU(32, return_sequences=True)))
    model.add(layers.Dense(5))
    if not repaired:
        model.add(layers.Softmax())
    model.compile(keras.optimizers.Adam(0.001), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, reads.astype("float32"), y.astype("int32")


def train(model, x, y):
    for _ in range(110):
        model.train_on_batch(x, y)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
