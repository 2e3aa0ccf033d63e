"""Rented bicycles of an hour from ranked columns by two layers.

After scikit-learn examples/inspection/plot_partial_dependence.py.
"""

import keras
import numpy as np
from _shared import dense
from sklearn.datasets import make_friedman1

URL = "https://scikit-learn.org/stable/auto_examples/inspection/plot_partial_dependence.html"


def build():
    x, y = make_friedman1(n_samples=256, n_features=10, noise=1.0, random_state=0)
    y = np.exp((y - y.mean()) / y.std() * 0.8 + 4.7)
    ranks = x.argsort(0).argsort(0) / (len(x) - 1)
    model = keras.Sequential([keras.Input((10,)), dense(10, 30), dense(30, 15), dense(15, 1, "linear")])
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    return model, ranks.astype("float32"), y.astype("float32")
