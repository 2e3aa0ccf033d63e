"""Pictures of ten classes, a network of linear layers and ELU, written in NumPy: a bad curve of training.

Fault: the cross-entropy is the sum over the batch, with a rate for a mean, so that the steps are too large. Repair
(the writer): its mean. Width, rate, weights and batch are not said, and assumed to be those of the course that the
exercise belongs to: 128 hidden units, gradient descent with 0.1, weights of He, batches of 128. 1280 drawn pictures
of 16 x 16 in three colors, normalized by channel, instead of those of CIFAR-10.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://cmpatino.github.io/blog/2024/mean-xentropy"
YEAR = 2024
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "person"
KINDS = ("loss: sign or formula", "optimizer: rate too large")
VISIBLE = True
EVIDENCE = (
    "the first loss is 386 to 405 for ten classes, 128 times that of the mean; the gradients are, too, and with "
    "the assumed rate a first step is 3 to 5 times as large as the weights themselves (0.03 to 0.04 times in the "
    "repaired form)"
)
REPRODUCED = True
COUNT, CLASSES, SIZE = 1280, 10, 16


def build(repaired):
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=COUNT)
    coarse = rng.normal(size=(CLASSES, 4, 4, 3)).repeat(SIZE // 4, 1).repeat(SIZE // 4, 2)
    x = coarse[labels] + rng.normal(0, 2.5, (COUNT, SIZE, SIZE, 3))
    x = ((x - x.mean((0, 1, 2))) / x.std((0, 1, 2))).reshape(COUNT, -1)

    def entropy(y_true, y_pred):
        total = -ops.sum(y_true * ops.log(y_pred + 1e-6))
        return total / ops.shape(y_true)[0] if repaired else total

    model = keras.Sequential(
        [
            keras.Input((x.shape[1],)),
            layers.Dense(128, "elu", kernel_initializer="he_normal"),
            layers.Dense(CLASSES, "softmax", kernel_initializer="he_normal"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), entropy)
    return model, x.astype("float32"), np.eye(CLASSES, dtype="float32")[labels]


def train(model, x, y):
    model.fit(x, y, batch_size=128, epochs=10, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
