"""Variational autoencoder of digits with convolutions and two latent numbers.

After keras.io examples/generative/vae.py.
"""

import keras
from _shared import digits
from keras import layers, ops

URL = "https://keras.io/examples/generative/vae/"


class Sampling(layers.Layer):
    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1337)

    def call(self, inputs):
        mean, variance = inputs
        return mean + ops.exp(0.5 * variance) * keras.random.normal(ops.shape(mean), seed=self.seeds)


class VAE(keras.Model):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def call(self, x):
        mean, variance, z = self.encoder(x)
        return mean, variance, self.decoder(z)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        mean, variance, drawn = y_pred
        drawing = ops.mean(ops.sum(keras.losses.binary_crossentropy(x, drawn), axis=(1, 2)))
        divergence = -0.5 * (1 + variance - ops.square(mean) - ops.exp(variance))
        return drawing + ops.mean(ops.sum(divergence, axis=1))


def build(latent=2):
    x, _ = digits(28)
    inputs = keras.Input((28, 28, 1))
    h = layers.Conv2D(16, 3, activation="relu", strides=2, padding="same")(inputs)
    h = layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(h)
    h = layers.Dense(16, activation="relu")(layers.Flatten()(h))
    mean, variance = layers.Dense(latent)(h), layers.Dense(latent)(h)
    encoder = keras.Model(inputs, [mean, variance, Sampling()([mean, variance])])
    inputs = keras.Input((latent,))
    h = layers.Reshape((7, 7, 16))(layers.Dense(7 * 7 * 16, activation="relu")(inputs))
    h = layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same")(h)
    h = layers.Conv2DTranspose(16, 3, activation="relu", strides=2, padding="same")(h)
    decoder = keras.Model(inputs, layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(h))
    model = VAE(encoder, decoder)
    model.compile(optimizer=keras.optimizers.Adam())
    return model, x, None
