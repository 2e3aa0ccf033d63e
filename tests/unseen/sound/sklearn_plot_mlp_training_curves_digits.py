"""Digits by one layer, SGD with a constant rate, pixels in 0..1.

After scikit-learn examples/neural_networks/plot_mlp_training_curves.py.
"""

import keras
from keras import layers
from sklearn.datasets import load_digits

URL = "https://scikit-learn.org/stable/auto_examples/neural_networks/plot_mlp_training_curves.html"


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
    x, y = load_digits(return_X_y=True)
    model = keras.Sequential([keras.Input((64,)), dense(64, 100), dense(100, 10, "softmax")])
    model.compile(optimizer=keras.optimizers.SGD(0.2), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, (x[:256] / 16).astype("float32"), y[:256]
