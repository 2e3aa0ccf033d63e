"""Digits by one layer of forty units, SGD with a high rate.

After scikit-learn examples/neural_networks/plot_mnist_filters.py.
"""

import keras
from _shared import dense
from sklearn.datasets import load_digits

URL = "https://scikit-learn.org/stable/auto_examples/neural_networks/plot_mnist_filters.html"


def build():
    x, y = load_digits(return_X_y=True)
    model = keras.Sequential([keras.Input((64,)), dense(64, 40), dense(40, 10, "softmax")])
    model.compile(
        optimizer=keras.optimizers.SGD(0.2, momentum=0.9, nesterov=True),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model, (x[:256] / 16).astype("float32"), y[:256]
