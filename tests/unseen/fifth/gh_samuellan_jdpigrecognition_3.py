"""Pictures of pigs are classified by a VGG16 with three dense layers on top: it converges very slowly.

Fault: a rate of 5e-7 for Adam, which the file has for going on with a trained network.
Repair (the maintainer): the rate that is commented out in the file, 5e-5, for a network that begins. The convolutions
are frozen, as in the file; they have random weights here instead of trained ones, and a sixteenth of the filters. Drawn
pictures of 32 x 32 instead of 56 x 56, 5 pigs instead of 30, 200 steps of the 100 epochs (in these the rate, which
falls to 0.0001 of its value over all of them, is constant), batches of 16. The pictures are standardized by channel
over the data, not by batch, and the moving averages follow with 0.99 instead of 0.9997, as there are fewer steps. The
decay of all weights that are trained (0.01 times half of the sum of their squares) is that of the file.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers

URL = "https://github.com/SamuelLAN/jdPigRecognition/issues/3"
YEAR = 2018
TOPIC = "image classification"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too small",)
VISIBLE = True
EVIDENCE = (
    "one step changes the trained weights, with standard deviations of 0.03 to 0.16, by 5e-7, and the loss of"
    " 9.91 by 0.00007 (by 0.005 in the repaired form): only the rate differs, by a factor of 100 (of 2000 from the"
    " default)"
)
REPRODUCED = True
STEPS, CLASSES, SIZE = 200, 5, 32


def decay():
    return keras.regularizers.L2(0.01 / 2)


def dense(units, inputs, activation=None):
    weights = keras.initializers.TruncatedNormal(stddev=inputs**-0.5)
    return layers.Dense(
        units, activation, kernel_initializer=weights, kernel_regularizer=decay(), bias_regularizer=decay()
    )


def build(repaired):
    inputs = keras.Input((SIZE, SIZE, 3))
    hidden = inputs
    for stage, (units, count) in enumerate(((4, 2), (8, 2), (16, 3), (32, 3), (32, 3))):
        for _ in range(count):
            hidden = layers.Conv2D(units, 3, padding="same", kernel_initializer="he_normal", trainable=False)(hidden)
            hidden = layers.BatchNormalization(
                momentum=0.99, epsilon=0.001, beta_regularizer=decay(), gamma_regularizer=decay()
            )(hidden)
            hidden = layers.Activation("relu")(hidden)
        hidden = (layers.AveragePooling2D if stage < 4 else layers.MaxPooling2D)(2, padding="same")(hidden)
    hidden = layers.Flatten()(hidden)
    for units in (1024, 512, 256):
        hidden = dense(units, hidden.shape[-1], "relu")(hidden)
        hidden = layers.Dropout(0.5)(hidden)
    model = keras.Model(inputs, dense(CLASSES, 256)(hidden))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-5 if repaired else 5e-7), loss)
    rng = np.random.default_rng(0)
    y = np.arange(400) % CLASSES
    coarse = rng.normal(0, 1, (CLASSES, 4, 4, 3))
    patterns = coarse.repeat(8, 1).repeat(8, 2)
    x = 120 + 40 * patterns[y] + 20 * rng.normal(0, 1, (len(y), 1, 1, 3))
    x = (x + 25 * rng.normal(0, 1, x.shape)).clip(0, 255)
    x = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
    return model, x.astype("float32"), np.eye(CLASSES, dtype="float32")[y]


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=STEPS * 16 // len(x), verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
