"""Digits by convolutions whose kernels are standardized at each use.

After keras.io examples/keras_recipes/subclassing_conv_layers.py.
"""

import keras
from _shared import digits
from keras import layers, ops

URL = "https://keras.io/examples/keras_recipes/subclassing_conv_layers/"


class StandardizedConv2D(layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        mean, variance = ops.moments(kernel, axes=[0, 1, 2], keepdims=True)
        return super().convolution_op(inputs, (kernel - mean) / ops.sqrt(variance + 1e-10))


def build():
    x, y = digits(28)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            StandardizedConv2D(16, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            StandardizedConv2D(32, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model, x, keras.utils.to_categorical(y, 10)
