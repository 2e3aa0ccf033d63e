"""Two classes of made columns by one layer, after the example of scikit-learn's documentation of mlpclassifier."""

import keras
from _shared import dense
from sklearn.datasets import make_classification

URL = "https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPClassifier.html"


def build():
    x, y = make_classification(n_samples=100, random_state=1)
    model = keras.Sequential([keras.Input((20,)), dense(20, 100), dense(100, 1, "sigmoid")])
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="binary_crossentropy", metrics=["accuracy"])
    return model, x.astype("float32"), y.astype("float32")
