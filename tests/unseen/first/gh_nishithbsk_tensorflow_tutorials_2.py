"""A convolutional autoencoder of a course stays at a loss of 72 an image, that of a plain grey image.

Fault: plain gradient descent at a rate of 0.01 on a squared error summed over the pixels kills the single channel of
ReLU that all must pass.
Repair (a reader who solved it): a rate of 0.001, and another decoder; its text is not stored: 8 channels are assumed.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import ops
from sklearn.datasets import load_digits

URL = "https://github.com/nishithbsk/tensorflow_tutorials/issues/2"
YEAR = 2017
TOPIC = "autoencoders"
CONFIRMED = "comments"
KINDS = ("optimizer: rate too large", "activation: dead units")
VISIBLE = False
EVIDENCE = (
    "not reproduced: of three seeds of the repaired form one stays dead as well; at the start half of the values "
    "of the single channel of ReLU are positive"
)
REPRODUCED = False


def loss(y, image):
    return ops.sum(ops.square(y - image), axis=(1, 2, 3))


def build(repaired):
    x = load_digits().images[:240] / 16
    x = np.pad(np.kron(x, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2)))[..., None].astype("float32")
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(1, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(100),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Reshape((4, 4, 8)),
            keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2DTranspose(8 if repaired else 1, 8, strides=2, activation="relu"),
            keras.layers.Conv2DTranspose(1, 7, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.001 if repaired else 0.01), loss)
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=10, epochs=45, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x) - x.mean(0), x - x.mean(0))
