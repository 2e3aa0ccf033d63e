"""Inner and outer circle by one layer with a strong penalty.

After scikit-learn examples/classification/plot_classifier_comparison.py.
"""

import keras
from _shared import dense
from sklearn.datasets import make_circles

URL = "https://scikit-learn.org/stable/auto_examples/classification/plot_classifier_comparison.html"


def build():
    x, y = make_circles(n_samples=100, noise=0.2, factor=0.5, random_state=1)
    x = (x - x.mean(0)) / x.std(0)
    penalty = 1.0 / len(x)
    model = keras.Sequential([keras.Input((2,)), dense(2, 100, penalty=penalty), dense(100, 1, "sigmoid", penalty)])
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="binary_crossentropy", metrics=["accuracy"])
    return model, x.astype("float32"), y.astype("float32")
