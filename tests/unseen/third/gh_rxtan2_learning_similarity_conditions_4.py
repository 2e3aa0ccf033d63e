"""Triplets of shoes are trained under conditions that the network weighs itself: the accuracy of the test is 0 %.

Fault: the counts of the accuracy are whole numbers, whose quotient newer versions of PyTorch cut to 0.
Repair (the asker): the counts go through NumPy. The network trains as before, so the score, which needs no such count,
is the same for both forms.
The trained ResNet is two dense layers over features; the condition of each triplet is not given to the network.
"""

import keras
import numpy as np
from _program import predictions
from keras import layers, ops

URL = "https://github.com/rxtan2/Learning-Similarity-Conditions/issues/4"
YEAR = 2019
TOPIC = "regression on tables"
CONFIRMED = "asker"
KINDS = ("evaluation or other code",)
VISIBLE = False
EVIDENCE = "model, data, loss and gradients are the same in both forms"
REPRODUCED = False
CONDITIONS, WIDTH = 4, 16


def build(repaired):
    rng = np.random.default_rng(0)
    things = rng.normal(size=(60, CONDITIONS, 6))
    triplets, kinds = rng.integers(0, 60, (400, 3)), rng.integers(0, CONDITIONS, 400)
    for triplet, kind in zip(triplets, kinds, strict=True):
        far, near = (np.linalg.norm(things[triplet[0], kind] - things[other, kind]) for other in triplet[1:])
        if far < near:
            triplet[1:] = triplet[:0:-1].copy()
    x = things.reshape(60, -1)[triplets].astype("float32")

    inputs = keras.Input((3, CONDITIONS * 6))
    vectors = layers.Dense(WIDTH)(layers.Dense(64, "relu")(inputs))
    vectors = layers.UnitNormalization()(vectors)
    shares = layers.Dense(CONDITIONS, "softmax")(layers.Dense(32, "relu")(layers.Flatten()(vectors)))
    masks = layers.EinsumDense("bk,kd->bd", (WIDTH,), kernel_initializer=keras.initializers.RandomNormal(0.9, 0.7))
    masked = layers.Multiply()([vectors, layers.Reshape((1, WIDTH))(masks(shares))])
    model = keras.Model(inputs, masked)
    model.counts_are_whole = not repaired
    model.compile(keras.optimizers.Adam(5e-5), lambda y, found: ops.mean(ops.relu(0.2 - gap(found))))
    return model, x, np.ones((400, 1), "float32")


def gap(vectors):
    """Return how much farther the second of three is from the first than the third is."""
    far, near = (ops.sqrt(ops.sum((vectors[:, 0] - vectors[:, number]) ** 2, -1) + 1e-12) for number in (1, 2))
    return far - near


def train(model, x, y):
    model.fit(x, y, batch_size=96, epochs=40, verbose=0)


def score(model, x, y):
    right = ops.convert_to_numpy(gap(ops.convert_to_tensor(predictions(model, x)))) > 0
    return max(0.0, 2 * right.mean() - 1)
