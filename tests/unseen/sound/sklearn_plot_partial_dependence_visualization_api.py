"""Course of diabetes from standardized columns, target not scaled.

After scikit-learn examples/miscellaneous/plot_partial_dependence_visualization_api.py.
"""

import keras
from _shared import dense
from sklearn.datasets import load_diabetes

URL = "https://scikit-learn.org/stable/auto_examples/miscellaneous/plot_partial_dependence_visualization_api.html"


def build():
    x, y = load_diabetes(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    model = keras.Sequential([keras.Input((10,)), dense(10, 100), dense(100, 100), dense(100, 1, "linear")])
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="mse")
    return model, x[:256].astype("float32"), y[:256].astype("float32")
