"""Vocals taken out of a mix by a U-Net of time-frequency blocks on an STFT.

After keras.io examples/audio/vocal_track_separation.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/audio/vocal_track_separation/"

FFT, HOP, FRAMES, BANDS = 128, 32, 32, 2
SAMPLES = (FRAMES - 1) * HOP


def spectrum(waves):
    """Return real and imaginary parts of the STFT as a last axis, without the last frequency."""
    return ops.stack(ops.stft(waves, FFT, HOP, FFT), axis=-1)[:, :, :-1]


def spectral_loss(y_true, y_pred):
    target = spectrum(ops.reshape(y_true, (-1, SAMPLES)))
    return ops.mean(ops.absolute(ops.reshape(target, (-1, 1, FRAMES, FFT)) - y_pred))


def convolution(x, channels):
    x = ops.gelu(layers.GroupNormalization(groups=-1)(x))
    return layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)


def frequency_dense(x, width):
    for units in (width // 2, width):
        x = ops.gelu(layers.GroupNormalization(groups=-1)(x))
        x = ops.swapaxes(layers.Dense(units, use_bias=False)(ops.swapaxes(x, -1, -2)), -1, -2)
    return x


def block(x, channels, width, length=2):
    for _ in range(length):
        inner = x.shape[-1]
        y = convolution(convolution(x, inner) + frequency_dense(x, width), channels)
        x = y + layers.Conv2D(channels, 1, use_bias=False)(x)
    return x


def rescale(kind, x, channels):
    return layers.GroupNormalization(groups=-1)(ops.gelu(kind(channels, 2, 2, use_bias=False)(x)))


def build(count=64, channels=8, growth=4, scales=4):
    inputs = keras.Input((SAMPLES,))
    width = FFT // 2 // BANDS
    mix = ops.reshape(spectrum(inputs), (-1, FRAMES, width, 2 * BANDS))
    first = h = layers.Conv2D(channels, 1, use_bias=False)(mix)
    skips = []
    for _ in range(scales):
        skips.append(block(h, channels, width))
        width, channels = width // 2, channels + growth
        h = rescale(layers.Conv2D, skips[-1], channels)
    h = block(h, channels, width)
    for _ in range(scales):
        width, channels = width * 2, channels - growth
        h = ops.concatenate([rescale(layers.Conv2DTranspose, h, channels), skips.pop()], axis=-1)
        h = block(h, channels, width)
    h = ops.concatenate([mix, h * first], axis=-1)
    h = layers.Conv2D(channels, 1, use_bias=False, activation="gelu")(h)
    h = layers.Conv2D(2 * BANDS, 1, use_bias=False)(h)
    model = keras.Model(inputs, ops.reshape(h, (-1, 1, FRAMES, FFT)))
    model.compile(optimizer=keras.optimizers.Adam(5e-5, gradient_accumulation_steps=2), loss=spectral_loss)
    rng = np.random.default_rng(0)
    time = np.arange(SAMPLES) / 16000
    voice = sum(np.sin(2 * np.pi * k * rng.uniform(150, 300, (count, 1)) * time) / k for k in range(1, 5)) * 0.2
    drums = rng.normal(0, 0.1, (count, SAMPLES)) * (np.sin(2 * np.pi * 8 * time + rng.random((count, 1))) > 0.8)
    bass = 0.2 * np.sin(2 * np.pi * rng.uniform(50, 90, (count, 1)) * time)
    return model, (voice + drums + bass).astype("float32"), voice[:, None].astype("float32")
