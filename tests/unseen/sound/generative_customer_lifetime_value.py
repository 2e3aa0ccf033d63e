"""Sales of the next months from trends and countries by a Transformer with LSTMs.

After keras.io examples/generative/customer_lifetime_value.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/generative/customer_lifetime_value/"


def encoder(x, heads=4, hidden=16):
    width = x.shape[-1]
    attended = layers.MultiHeadAttention(heads, width // heads)(x, x)
    x = layers.LayerNormalization(epsilon=1e-5)(x + attended)
    dense = layers.Dense(width)(layers.Dense(hidden, activation="relu")(x))
    return layers.LayerNormalization(epsilon=1e-5)(x + dense)


def scaled(x):
    """Return columns less their median, in units of their middle range."""
    low, middle, high = np.percentile(x, [25, 50, 75], axis=0)
    return ((x - middle) / (high - low + 1e-6)).astype("float32")


def build(count=256, months=6, countries=6):
    rng = np.random.default_rng(0)
    land = rng.integers(1, countries, count)
    level = np.exp(0.3 * land + rng.normal(0, 0.4, count))[:, None]
    month = rng.integers(0, 12, (count, 1)) + np.arange(2 * months)
    sales = level * (1 + 0.4 * np.sin(2 * np.pi * month / 12)) * np.exp(rng.normal(0, 0.1, (count, 2 * months)))
    angle = 2 * np.pi * month[:, :months] / 12
    temporal = np.stack(
        [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle), month[:, :months] / 24], -1
    )
    trends = sales[:, :months, None] * rng.uniform(0.8, 1.2, (count, months, 12))
    x = [temporal.astype("float32"), scaled(trends), np.eye(countries, dtype="int32")[land]]
    first, second = keras.Input((months, 5)), keras.Input((months, 12))
    third = keras.Input((countries,), dtype="int32")
    country = layers.RepeatVector(months)(layers.Flatten()(layers.Embedding(countries, 8)(third)))
    h = layers.Concatenate()([layers.Dense(8, activation="tanh")(first), country])
    for _ in range(3):
        h = encoder(h)
    h = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling1D()(h))
    h = layers.Concatenate()([h, layers.LSTM(32)(second)])
    h = layers.RepeatVector(months)(h)
    h = layers.LSTM(32, return_sequences=True, recurrent_regularizer=keras.regularizers.L1L2(l1=1e-5, l2=1e-4))(h)
    model = keras.Model([first, second, third], layers.Dense(1)(h))
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001), loss="mse", metrics=["mse"])
    return model, x, scaled(sales[:, months:, None])
