"""Load scikit-learn's handwritten digits, 8 by 8 pixels each."""

import numpy as np
from sklearn.datasets import load_digits


def load():
    """Return images and labels of the digits 0 to 7: 1024 for training, 419 for testing.

    The number of classes equals the number of lanes in a processor's vector unit, and the training
    data divide into full batches. Without remainders, matrix products treat all units in the same
    way, down to the last bit.
    """
    images, labels = load_digits(n_class=8, return_X_y=True)
    images = ((images - images.mean()) / images.std()).astype("float32")
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1024], order[1024:]
    return (images[train], labels[train]), (images[test], labels[test])
