"""Values of a linear rule with noise by one layer.

After the example of scikit-learn's documentation of mlpregressor.
"""

import keras
from _shared import dense
from sklearn.datasets import make_regression

URL = "https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPRegressor.html"


def build():
    x, y = make_regression(n_samples=200, n_features=20, random_state=1)
    model = keras.Sequential([keras.Input((20,)), dense(20, 100), dense(100, 1, "linear")])
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="mse")
    return model, x.astype("float32"), y.astype("float32")
