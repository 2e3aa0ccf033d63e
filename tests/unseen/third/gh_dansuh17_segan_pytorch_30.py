"""A GAN that takes noise out of speech (SEGAN) gives a wave that is nothing.

Fault (a second person with the same problem): the clean waves are raw 16-bit audio, the generator ends in tanh.
Repair: the audio is divided by 32768, so that it has the range of tanh.
Fewer and narrower layers; batch norm stands for virtual batch norm, which has no layer in Keras.
"""

import keras
import numpy as np
from _program import explained

URL = "https://github.com/dansuh17/segan-pytorch/issues/30"
YEAR = 2020
TOPIC = "generative adversarial networks"
CONFIRMED = "comments"
KINDS = ("targets: beyond the last activation", "inputs: scale or offset")
VISIBLE = True
EVIDENCE = "the target waves have a root mean square of 1357, and 99.8 % of the outputs of tanh are beyond 0.99"
REPRODUCED = True

LENGTH = 256


class Latent(keras.layers.Layer):
    """Append normal noise as further channels."""

    def build(self, shape):
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, code):
        return keras.ops.concatenate([code, keras.random.normal(keras.ops.shape(code), seed=self.seeds)], -1)


def build(repaired):
    rng = np.random.default_rng(0)
    time = np.arange(LENGTH)
    clean = sum(
        rng.uniform(1000, 6000, (300, 1)) * np.sin(rng.uniform(0.05, 0.4, (300, 1)) * time + part)
        for part in rng.uniform(0, 6, (4, 300, 1))
    )
    noisy = clean + rng.normal(0, 2500, clean.shape)
    waves = np.round(np.clip(np.stack([clean, noisy]), -32768, 32767))[..., None]
    waves[:, :, 1:] -= 0.95 * waves[:, :, :-1]
    if repaired:
        waves /= 32768
    clean, noisy = waves.astype("float32")
    xavier = {"padding": "same", "kernel_initializer": "glorot_normal", "strides": 2}
    wave = keras.Input((LENGTH, 1))
    hidden, skips = wave, []
    for channels in (8, 16, 32):
        hidden = keras.layers.Conv1D(channels, 32, **xavier)(hidden)
        skips.append(hidden)
        hidden = keras.layers.PReLU(shared_axes=[1])(hidden)
    hidden = Latent()(hidden)
    for channels, skip in ((16, skips[1]), (8, skips[0])):
        hidden = keras.layers.Conv1DTranspose(channels, 32, **xavier)(hidden)
        hidden = keras.layers.PReLU(shared_axes=[1])(keras.layers.Concatenate()([hidden, skip]))
    hidden = keras.layers.Conv1DTranspose(1, 32, **xavier)(hidden)
    generator = keras.Model(wave, keras.layers.Activation("tanh")(hidden), name="generator")
    layers = [keras.Input((LENGTH, 2))]
    for channels in (8, 16, 32):
        layers += [
            keras.layers.Conv1D(channels, 31, **xavier),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.LeakyReLU(0.03),
        ]
    layers += [keras.layers.Conv1D(1, 1), keras.layers.LeakyReLU(0.03), keras.layers.Flatten(), keras.layers.Dense(1)]
    discriminator = keras.Sequential(layers, name="discriminator")
    discriminator.compile(keras.optimizers.RMSprop(0.0001), "mse")
    discriminator.trainable = False
    made = generator(wave)
    model = keras.Model(wave, [discriminator(keras.layers.Concatenate()([made, wave])), made])
    model.compile(keras.optimizers.RMSprop(0.0001), ["mse", "mae"], loss_weights=[0.5, 100])
    return model, noisy, [np.ones((300, 1), "float32"), clean]


def train(model, x, y):
    generator, discriminator = model.get_layer("generator"), model.get_layer("discriminator")
    for _ in range(12):
        for first in range(0, 300, 30):
            noisy, clean = x[first : first + 30], y[1][first : first + 30]
            fake = np.asarray(generator.predict_on_batch(noisy))
            discriminator.trainable = True
            discriminator.train_on_batch(
                np.concatenate([np.concatenate([clean, noisy], -1), np.concatenate([fake, noisy], -1)]),
                np.repeat([[1.0], [0.0]], 30, 0).astype("float32"),
            )
            discriminator.trainable = False
            model.train_on_batch(noisy, [y[0][:30], clean])


def score(model, x, y):
    return explained(model.get_layer("generator").predict(x, verbose=0), y[1])
