"""Income from census columns by Transformer blocks over the classes.

After keras.io examples/structured_data/tabtransformer.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/structured_data/tabtransformer/"

CLASSES = (9, 16, 7, 15, 6, 5, 2, 20)


def dense(x, units, rate, activation, norm):
    for width in units:
        x = layers.Dropout(rate)(layers.Dense(width, activation=activation)(norm(x)))
    return x


def build(count=256, width=16, heads=4, rate=0.2):
    rng = np.random.default_rng(0)
    rich = (rng.random(count) < 0.24).astype("int32")
    numbers = [
        rng.integers(17, 80, count) * 0.8 + 10 * rich,
        rng.integers(4, 14, count) + 2 * rich,
        rng.integers(1000, 20000, count) * (rng.random(count) < 0.04 + 0.2 * rich),
        rng.integers(1000, 2500, count) * (rng.random(count) < 0.04),
        np.round(rng.normal(39, 11, count) + 5 * rich),
    ]
    kinds = [np.where(rich & (rng.random(count) < 0.4), size - 1, rng.integers(0, size, count)) for size in CLASSES]
    inputs = [keras.Input((), dtype="float32") for _ in range(13)]
    h = ops.stack([layers.Embedding(size, width)(i) for size, i in zip(CLASSES, inputs[5:], strict=True)], axis=1)
    for _ in range(3):
        attended = layers.MultiHeadAttention(heads, width, dropout=rate)(h, h)
        h = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([attended, h]))
        h = layers.Add()([dense(h, [width], rate, "gelu", layers.LayerNormalization(epsilon=1e-6)), h])
        h = layers.LayerNormalization(epsilon=1e-6)(h)
    numeric = layers.LayerNormalization(epsilon=1e-6)(layers.concatenate([ops.expand_dims(i, -1) for i in inputs[:5]]))
    h = layers.concatenate([layers.Flatten()(h), numeric])
    for units in (2 * h.shape[-1], h.shape[-1]):
        h = dense(h, [units], rate, "selu", layers.BatchNormalization())
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.0001),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
    )
    return model, [column.astype("float32") for column in numbers + kinds], rich
