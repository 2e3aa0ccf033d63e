"""Values of a linear rule with noise by one layer.

After the example of scikit-learn's documentation of mlpregressor.
"""

import keras
from keras import layers
from sklearn.datasets import make_regression

URL = "https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPRegressor.html"


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
    x, y = make_regression(n_samples=200, n_features=20, random_state=1)
    model = keras.Sequential([keras.Input((20,)), dense(20, 100), dense(100, 1, "linear")])
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="mse")
    return model, x.astype("float32"), y.astype("float32")
