"""Two moons by two layers with a small penalty on weights.

After scikit-learn examples/neural_networks/plot_mlp_alpha.py.
"""

import keras
from _shared import dense
from sklearn.datasets import make_moons

URL = "https://scikit-learn.org/stable/auto_examples/neural_networks/plot_mlp_alpha.html"


def build():
    x, y = make_moons(noise=0.3, n_samples=200, random_state=0)
    x = (x - x.mean(0)) / x.std(0)
    model = keras.Sequential([keras.Input((2,)), dense(2, 100), dense(100, 100), dense(100, 1, "sigmoid")])
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="binary_crossentropy", metrics=["accuracy"])
    return model, x.astype("float32"), y.astype("float32")
