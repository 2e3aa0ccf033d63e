"""Kinds of iris by one layer, SGD with momentum, columns in 0..1.

After scikit-learn examples/neural_networks/plot_mlp_training_curves.py.
"""

import keras
import numpy as np
from _shared import dense
from sklearn.datasets import load_iris

URL = "https://scikit-learn.org/stable/auto_examples/neural_networks/plot_mlp_training_curves.html"


def build():
    x, y = load_iris(return_X_y=True)
    x = (x - x.min(0)) / (x.max(0) - x.min(0))
    mixed = np.random.default_rng(0).permutation(len(x))
    model = keras.Sequential([keras.Input((4,)), dense(4, 100), dense(100, 3, "softmax")])
    model.compile(
        optimizer=keras.optimizers.SGD(0.2, momentum=0.9, nesterov=True),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model, x[mixed].astype("float32"), y[mixed]
