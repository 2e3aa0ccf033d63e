"""Fraud from running features of payments by sigmoid layers.

After keras.io examples/timeseries/event_classification_for_payment_card_fraud_detection.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/timeseries/event_classification_for_payment_card_fraud_detection/"


def build(count=256):
    rng = np.random.default_rng(0)
    names = ["amount", "hour", "day", "fraud_2d", "fraud_7d", "fraud_28d", "count_2d", "count_7d", "count_28d"]
    y = (rng.permutation(count) < 0.2 * count).astype("int32")
    x = {name: rng.normal(size=(count, 1)) for name in names}
    x["amount"] += 1.5 * y[:, None] * rng.random((count, 1))
    for name in names[3:6]:
        x[name] = 0.3 * x[name] + (y[:, None] > rng.random((count, 1))) * 2.0 - 0.4
    inputs = [keras.Input((1,), name=name) for name in names]
    h = layers.concatenate(inputs)
    h = layers.Dense(32, activation="sigmoid")(h)
    h = layers.Dense(16, activation="sigmoid")(h)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    model.compile(
        optimizer=keras.optimizers.Adam(0.01), loss=keras.losses.BinaryCrossentropy(), metrics=[keras.metrics.AUC()]
    )
    return model, {name: column.astype("float32") for name, column in x.items()}, y
