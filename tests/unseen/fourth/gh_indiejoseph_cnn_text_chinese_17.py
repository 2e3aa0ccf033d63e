"""Chinese sentences of two classes by a convolutional network: accuracy between 55 and 75 % after 800 steps.

Fault: the vectors of the characters start at random, so that more steps are needed.
Repair (maintainer): vectors that were trained before, by another network. The network of the repository (seven
sizes of filters, a highway layer, dropout) with 12 filters of each size instead of 50 to 200, vectors of 32 numbers
instead of 128, sentences of 16 of 400 characters; 120 steps instead of 800.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers

URL = "https://github.com/indiejoseph/cnn-text-classification-tf-chinese/issues/17"
YEAR = 2017
TOPIC = "text and sequences"
CONFIRMED = "maintainer"
KINDS = ("training: epochs, batches, order",)
VISIBLE = False
EVIDENCE = "random vectors are a sound start; that they need more steps comes up later"
REPRODUCED = True
WORDS, LENGTH, SIZE, FILTERS = 400, 16, 32, 12


def normal():
    return keras.initializers.TruncatedNormal(stddev=0.1)


def build(repaired):
    rng = np.random.default_rng(0)
    count = 384
    y = np.arange(count) % 2
    meanings = np.zeros(WORDS)
    meanings[:80], meanings[80:160] = -1, 1
    x = rng.integers(160, WORDS, (count, LENGTH))
    for sentence, kind in zip(x, y, strict=True):
        places = rng.choice(LENGTH, 2, replace=False)
        sentence[places] = 80 * kind + rng.integers(0, 80, 2)
    if repaired:
        trained = rng.uniform(-1, 1, (WORDS, SIZE))
        trained[:, :6] = meanings[:, None] * rng.choice([-1, 1], 6) + 0.3 * rng.normal(size=(WORDS, 6))
        vectors = keras.initializers.Constant(trained)
    else:
        vectors = keras.initializers.RandomUniform(-1, 1)
    inputs = keras.Input((LENGTH,), dtype="int32")
    embedded = layers.Embedding(WORDS, SIZE, embeddings_initializer=vectors)(inputs)
    pooled = [
        layers.GlobalMaxPooling1D()(
            layers.Conv1D(
                FILTERS,
                size,
                activation="relu",
                kernel_initializer=normal(),
                bias_initializer=keras.initializers.Constant(0.1),
            )(embedded)
        )
        for size in (1, 2, 3, 4, 5, 6, 8)
    ]
    pooled = layers.Concatenate()(pooled)
    output = layers.Dense(pooled.shape[-1], activation="relu")(pooled)
    gate = layers.Dense(pooled.shape[-1], activation="sigmoid")(pooled)
    kept = layers.Multiply()([layers.Rescaling(-1, 1)(gate), pooled])
    highway = layers.Add()([layers.Multiply()([gate, output]), kept])
    scores = layers.Dense(2, kernel_initializer=normal(), bias_initializer=keras.initializers.Constant(0.1))(
        layers.Dropout(0.5)(highway)
    )
    model = keras.Model(inputs, scores)
    model.compile(keras.optimizers.Adam(1e-4), keras.losses.CategoricalCrossentropy(from_logits=True))
    return model, x.astype("int32"), np.eye(2, dtype="float32")[y]


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=10, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
