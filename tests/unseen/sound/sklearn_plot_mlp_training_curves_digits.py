"""Digits by one layer, SGD with a constant rate, pixels in 0..1.

After scikit-learn examples/neural_networks/plot_mlp_training_curves.py.
"""

import keras
from _shared import dense
from sklearn.datasets import load_digits

URL = "https://scikit-learn.org/stable/auto_examples/neural_networks/plot_mlp_training_curves.html"


def build():
    x, y = load_digits(return_X_y=True)
    model = keras.Sequential([keras.Input((64,)), dense(64, 100), dense(100, 10, "softmax")])
    model.compile(optimizer=keras.optimizers.SGD(0.2), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, (x[:256] / 16).astype("float32"), y[:256]
