"""Convolutional networks as they are built in practice, and generators."""

import keras
import numpy as np
from keras import layers, ops

import keras_initx
from zoo import CLASSES, GENERATOR, ZEROS, normal, tokens


class Sampling(layers.Layer):
    """Draw a code from its mean and the logarithm of its variance."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor
        self.generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        mean, variance = inputs
        self.add_loss(self.factor * 0.5 * ops.mean(ops.square(mean) + ops.exp(variance) - 1 - variance))
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.generator)
        return mean + ops.exp(variance / 2) * noise


def resnet(gamma="ones"):
    inputs = keras.Input((16, 16, 3))
    hidden = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    for filters in (16, 16, 32, 32):
        strides = 1 if filters == hidden.shape[-1] else 2
        branch = layers.ReLU()(layers.BatchNormalization()(hidden))
        branch = layers.Conv2D(filters, 3, strides, "same", use_bias=False, kernel_initializer="he_normal")(branch)
        branch = layers.ReLU()(layers.BatchNormalization()(branch))
        branch = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(branch)
        branch = layers.BatchNormalization(gamma_initializer=gamma)(branch)
        hidden = hidden if strides == 1 else layers.Conv2D(filters, 1, strides, use_bias=False)(hidden)
        hidden = layers.Add()([hidden, branch])
    pooled = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(hidden)))
    return keras.Model(inputs, layers.Dense(10)(pooled)), normal(8, 16, 16, 3), tokens(8, vocabulary=10), CLASSES


def unet():
    def block(hidden, filters):
        return layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(hidden)

    inputs = keras.Input((16, 16, 1))
    one = block(inputs, 8)
    two = block(layers.MaxPooling2D()(one), 16)
    three = block(layers.MaxPooling2D()(two), 32)
    two = block(layers.Concatenate()([layers.UpSampling2D()(three), two]), 16)
    one = block(layers.Concatenate()([layers.UpSampling2D()(two), one]), 8)
    outputs = layers.Conv2D(1, 1, activation="sigmoid", bias_initializer=keras_initx.PriorBias(0.001))(one)
    return keras.Model(inputs, outputs), normal(4, 16, 16, 1), tokens(4, 16, 16, 1, vocabulary=2), "binary_crossentropy"


def generator(kernel="glorot_uniform"):
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(4 * 4 * 32, use_bias=False),
            layers.Reshape((4, 4, 32)),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2DTranspose(8, 4, 2, "same", use_bias=False, kernel_initializer=kernel),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2DTranspose(3, 4, 2, "same", activation="tanh"),
        ]
    )
    return model, normal(16, 16), np.tanh(normal(16, 16, 16, 3)), "mse"


def discriminator():
    small = keras.initializers.RandomNormal(stddev=0.02)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(16, 4, 2, "same", kernel_initializer=small),
            layers.LeakyReLU(),
            layers.SpectralNormalization(layers.Conv2D(32, 4, 2, "same", kernel_initializer=small)),
            layers.LeakyReLU(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(1, "sigmoid"),
        ]
    )
    return model, np.tanh(normal(16, 16, 16, 3)), tokens(16, 1, vocabulary=2), "binary_crossentropy"


def variational_autoencoder():
    inputs = keras.Input((32,))
    hidden = layers.Dense(16, "relu")(inputs)
    code = Sampling(1 / 32)([layers.Dense(4)(hidden), layers.Dense(4, kernel_initializer="zeros")(hidden)])
    outputs = layers.Dense(32, "sigmoid")(layers.Dense(16, "relu")(code))
    x = GENERATOR.uniform(size=(32, 32)).astype("float32")
    return keras.Model(inputs, outputs), x, x, "binary_crossentropy"


def transferred():
    backbone, x, y, loss = resnet()
    backbone.trainable = False
    return keras.Sequential([backbone, layers.Dense(16, "relu"), layers.Dense(10)]), x, y, loss


ZOO = {
    "resnet": (resnet, set()),
    "resnet, last gamma of zeros": (lambda: resnet("zeros"), ZEROS),
    "unet": (unet, set()),
    "generator": (generator, set()),
    # Keras' fan-in of a transposed kernel is too small by the factor of four by which the strides reduce the inputs.
    "generator, he": (lambda: generator("he_normal"), set()),
    "discriminator": (discriminator, set()),
    "vae": (variational_autoencoder, ZEROS),
    "transferred": (transferred, set()),
}


# With losses of layers, states, random numbers, and what is not trained.
EVERYWHERE = ("resnet", "discriminator", "vae", "transferred")
