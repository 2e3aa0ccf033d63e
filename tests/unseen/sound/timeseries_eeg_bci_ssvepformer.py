"""Flicker that a person looks at, from the complex spectrum of EEG, by SSVEPFormer.

After keras.io examples/timeseries/eeg_bci_ssvepformer.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/timeseries/eeg_bci_ssvepformer/"

CHANNELS, SAMPLES, CLASSES, RATE = 8, 128, 6, 128


def small():
    return keras.initializers.RandomNormal(mean=0.0, stddev=0.01)


class Spectrum(layers.Layer):
    def call(self, x):
        real, imaginary = (part[:, :, 8:64] / x.shape[-1] for part in ops.rfft(x, fft_length=256))
        return ops.concatenate([real, imaginary], axis=-1)


class Encoder(layers.Layer):
    """Twice a convolution over channels and a dense layer over frequencies, each with a sum around it."""

    def __init__(self, features, rate):
        super().__init__()
        self.norms = [layers.LayerNormalization() for _ in range(4)]
        self.drops = [layers.Dropout(rate) for _ in range(4)]
        self.convolutions = [
            layers.Conv1D(2 * CHANNELS, 31, padding="same", kernel_initializer=small(), data_format="channels_last")
            for _ in range(2)
        ]
        self.dense = [layers.Dense(features, kernel_initializer=small()) for _ in range(2)]

    def call(self, x, training=False):
        for i in range(2):
            y = ops.transpose(self.norms[2 * i](x), (0, 2, 1))
            y = ops.transpose(self.convolutions[i](y), (0, 2, 1))
            x = x + self.drops[2 * i](ops.gelu(y), training=training)
            y = self.dense[i](self.norms[2 * i + 1](x))
            x = x + self.drops[2 * i + 1](ops.gelu(y), training=training)
        return x


def build(count=192, rate=0.5):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % CLASSES)
    time = np.arange(SAMPLES) / RATE
    flicker = 2 * np.pi * ((9.25 + y)[:, None, None] * time + rng.random((count, 1, 1)))
    strength = rng.uniform(2, 6, (1, CHANNELS, 1))
    x = strength * (np.sin(flicker) + 0.5 * np.sin(2 * flicker)) + rng.normal(0, 4, (count, CHANNELS, SAMPLES))
    inputs = keras.Input((CHANNELS, SAMPLES))
    h = ops.transpose(Spectrum()(inputs), (0, 2, 1))
    h = ops.transpose(layers.Conv1D(2 * CHANNELS, 1, padding="same", kernel_initializer=small())(h), (0, 2, 1))
    h = layers.Dropout(rate)(layers.Activation("gelu")(layers.LayerNormalization()(h)))
    for _ in range(2):
        h = Encoder(112, rate)(h)
    h = layers.Dropout(rate)(layers.Flatten()(h))
    h = layers.LayerNormalization()(layers.Dense(6 * CLASSES, kernel_initializer=small())(h))
    h = layers.Dropout(rate)(layers.Activation("gelu")(h))
    h = layers.Dense(CLASSES, kernel_initializer=small())(h)
    model = keras.Model(inputs, layers.Activation("softmax")(h))
    sgd = keras.optimizers.SGD(learning_rate=0.001, momentum=0.9, weight_decay=0.001)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=sgd, metrics=["accuracy"])
    return model, x.astype("float32"), y
