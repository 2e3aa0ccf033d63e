"""The example of the README and of `initx demo`: forty layers that do not learn to read digits.

Needs scikit-learn, which the extra `demo` installs.
"""

import keras
import numpy as np

from keras_initx import _extras

__all__ = ["digits", "forty_layers"]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's images of handwritten digits, standardized, and their labels.

    Use them to try a tool on a small data set that you need not download.

    Returns:
        The images, a float64 array of shape (1797, 64), with mean 0 and standard deviation 1 over
        all pixels, and the labels from 0 to 9, an integer array of shape (1797,).

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> x, y = digits()
        >>> x.shape, y.shape
        ((1797, 64), (1797,))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(_extras.advice("scikit-learn", "demo")) from error
    x, y = load_digits(return_X_y=True)
    return (x - x.mean()) / x.std(), y


def forty_layers() -> keras.Model:
    """Return a compiled classifier of the digits, with Keras' default weights.

    Use it to see what `diagnose` reports and `initialize` repairs. It has forty dense layers of 64
    ReLU units, `layer_1` to `layer_40`, and a softmax, `output`. Keras' default weights, Glorot's,
    halve the variance in each ReLU layer.

    Example:
        >>> model = forty_layers()
        >>> model.count_params()
        167050
    """
    layers = [keras.layers.Dense(64, "relu", name=f"layer_{n}") for n in range(1, 41)]
    output = keras.layers.Dense(10, "softmax", name="output")
    model = keras.Sequential([keras.Input((64,)), *layers, output])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
