"""Inner and outer circle by one layer with a strong penalty.

After scikit-learn examples/classification/plot_classifier_comparison.py.
"""

import keras
from keras import layers
from sklearn.datasets import make_circles

URL = "https://scikit-learn.org/stable/auto_examples/classification/plot_classifier_comparison.html"


def dense(before, units, activation="relu", penalty=1e-4 / 200):
    """Return a layer with the starting values and the penalty of scikit-learn's networks."""
    bound = ((2 if activation == "sigmoid" else 6) / (before + units)) ** 0.5
    start = keras.initializers.RandomUniform(-bound, bound)
    return layers.Dense(
        units,
        activation=activation,
        kernel_initializer=start,
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        kernel_regularizer=keras.regularizers.L2(penalty / 2),
    )


def build():
    x, y = make_circles(n_samples=100, noise=0.2, factor=0.5, random_state=1)
    x = (x - x.mean(0)) / x.std(0)
    penalty = 1.0 / len(x)
    model = keras.Sequential([keras.Input((2,)), dense(2, 100, penalty=penalty), dense(100, 1, "sigmoid", penalty)])
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="binary_crossentropy", metrics=["accuracy"])
    return model, x.astype("float32"), y.astype("float32")
