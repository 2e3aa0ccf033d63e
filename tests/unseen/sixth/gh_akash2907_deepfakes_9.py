"""Embeddings of faces of true and forged videos are brought together or apart by semi-hard triplets: the loss is NaN.

Fault (the maintainer; the asker confirms that it helped): batches that are too small (32 in the code, 64 and 128 were
tried).
Repair: batches of 256. The loss divides by the number of pairs of one class, which is 0 only for a single example;
the report says nothing of the number of examples, so that this port has no such batch. 2000 drawn embeddings of 512
numbers with a length of 1 (as the code makes them) in two classes; five epochs.
"""

import keras
import numpy as np
from _program import separated
from keras import layers, ops

URL = "https://github.com/AKASH2907/deepfakes_video_classification/issues/9"
YEAR = 2021
TOPIC = "image classification"
CONFIRMED = "maintainer"
KINDS = ("training: epochs, batches, order", "loss: value or gradient not finite")
VISIBLE = False
EVIDENCE = (
    "only the size of the batches differs, and the first losses are finite in both forms; not reproduced (1.00 in"
    " all runs): no loss is NaN with batches of 32"
)
REPRODUCED = False


def triplets(y_true, y_pred):
    labels, embeddings = y_pred[:, :1], y_pred[:, 1:]
    squares = ops.sum(ops.square(embeddings), 1)
    distances = squares[:, None] + squares[None] - 2 * ops.matmul(embeddings, ops.transpose(embeddings))
    distances = ops.maximum(distances, 0)
    same = ops.cast(ops.equal(labels, ops.transpose(labels)), distances.dtype)
    eye = ops.eye(distances.shape[0] or ops.shape(distances)[0])
    distances = distances * (1 - eye)
    farther = (1 - same)[:, None, :] * ops.cast(distances[:, None, :] > distances[:, :, None], distances.dtype)
    highest = ops.max(distances, 1, keepdims=True)
    outside = ops.min((distances - highest)[:, None, :] * farther, -1) + highest
    lowest = ops.min(distances, 1, keepdims=True)
    inside = ops.max((distances - lowest) * (1 - same), 1, keepdims=True) + lowest
    negatives = ops.where(ops.sum(farther, -1) > 0, outside, inside)
    pairs = same - eye
    return ops.sum(ops.maximum((1 + distances - negatives) * pairs, 0)) / ops.sum(pairs)


def build(repaired):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (2000, 1))
    faces = rng.normal(size=(40, 512))[rng.integers(0, 40, 2000)]
    x = faces + 0.5 * rng.normal(size=(2000, 512)) + 0.4 * labels * rng.normal(size=512)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    inputs, classes = keras.Input((512,)), keras.Input((1,))
    hidden = inputs
    for units in (256, 256, 128):
        hidden = layers.Dense(units, "relu", kernel_initializer="he_uniform")(hidden)
        hidden = layers.Dropout(0.1)(hidden)
    outputs = layers.Concatenate()([classes, layers.Dense(64)(hidden)])
    model = keras.Model([inputs, classes], outputs)
    model.compile(keras.optimizers.Adam(0.0003), triplets)
    model.batch = 256 if repaired else 32
    return model, [x.astype("float32"), labels.astype("float32")], np.zeros((2000, 65), "float32")


def train(model, x, y):
    model.fit(x, y, batch_size=model.batch, epochs=5, verbose=0)


def score(model, x, y):
    outputs = np.asarray(model.predict(x, verbose=0), "float64")
    labels, embeddings = outputs[:, 0], outputs[:, 1:]
    across = embeddings[labels > 0.5].mean(0) - embeddings[labels < 0.5].mean(0)
    return separated(embeddings @ across, labels)
