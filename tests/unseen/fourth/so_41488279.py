"""Flattened pictures of two kinds are classified by a network of two layers, written in NumPy: class 0 for all of them.

Fault: too large a rate and too little training (the asker's own answer). Moreover the code that should keep the
biases out of the regularization writes zeros into the first row of both matrices, which holds the first hidden unit
and the output of class 0, at each step: that output stays at 0.5 (he reports 0.5004899 for it).
Repair: a rate of 0.001 and longer training (as a page tells of the answer), no zeros written into the weights, and
weights of Glorot. `randweights` is not shown, and assumed to be uniform within 0.12, as in the course that the code
follows. 80 drawn pictures of 224 x 224, one by one as by the asker.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://stackoverflow.com/questions/41488279/neural-network-always-predicts-the-same-class"
YEAR = 2017
TOPIC = "image classification"
CONFIRMED = "person"
KINDS = (
    "optimizer: rate too large",
    "training: epochs, batches, order",
    "activation: saturated",
    "weights: too large",
)
VISIBLE = True
EVIDENCE = (
    "150528 inputs with a mean square of 1, and weights with a standard deviation of 0.069: the hidden units get"
    " sums with one of 27, and are saturated (with the assumed weights); the gradient of the loss changes such a"
    " sum by 0.1 times 150528 times its own. The zeros come up in the steps. The scores differ by little (0.98,"
    " 0.80, 0.90 against 1.00)"
)
REPRODUCED = True
DECAY = 0.01


def entropies(y_true, y_pred):
    """The cross-entropies of both outputs, summed, as in the gradient of the asker."""
    y_pred = ops.clip(y_pred, 1e-7, 1 - 1e-7)
    return -ops.sum(y_true * ops.log(y_pred) + (1 - y_true) * ops.log(1 - y_pred), -1)


def uniform():
    return keras.initializers.RandomUniform(-0.12, 0.12)


def build(repaired):
    rng = np.random.default_rng(0)
    count, size = 80, 224
    y = np.arange(count) % 2
    rows, columns = np.mgrid[:size, :size] / size
    patterns = np.stack([np.sin(9 * rows), np.sin(9 * columns)])[..., None] * np.array([1, 0.6, -0.4])
    x = 120 + 35 * patterns[y] + rng.normal(0, 25, (count, 1, 1, 3))
    x = x + rng.normal(0, 60, (count, size, size, 3)).astype("float32")
    x = x.clip(0, 255) - [103.939, 116.779, 123.68]
    x = x.reshape(count, -1)
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    model = keras.Sequential([keras.Input((x.shape[1],))])
    for units in (10, 2):
        model.add(
            layers.Dense(
                units,
                activation="sigmoid",
                kernel_initializer="glorot_uniform" if repaired else uniform(),
                bias_initializer="zeros" if repaired else uniform(),
                kernel_regularizer=keras.regularizers.L2(DECAY / 2),
            )
        )
    model.compile(keras.optimizers.SGD(0.001 if repaired else 0.1), entropies)
    return model, x.astype("float32"), np.eye(2, dtype="float32")[y]


def train(model, x, y):
    if float(model.optimizer.learning_rate) < 0.01:
        model.fit(x, y, batch_size=1, epochs=3, verbose=0)
        return
    weights = [weight for layer in model.layers for weight in (layer.kernel, layer.bias)]
    for at in range(len(x)):
        before = [ops.convert_to_numpy(weight) for weight in weights]
        model.train_on_batch(x[at : at + 1], y[at : at + 1])
        for weight, old in zip(weights, before, strict=True):
            new = np.array(ops.convert_to_numpy(weight))
            new[..., 0] -= old[..., 0]  # the first row was set to zero before the step was taken
            weight.assign(new)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
