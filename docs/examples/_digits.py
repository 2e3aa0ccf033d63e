"""The handwritten digits that come with scikit-learn, 8 by 8 pixels each."""

import numpy as np
from sklearn.datasets import load_digits


def load():
    """Return images and labels of the digits 0 to 7: 1024 for training and 419 for a test, as two pairs.

    There are as many classes as there are lanes in a vector of a processor, and the training data make full batches:
    where nothing is left over, libraries for matrix products treat all units alike, down to the last bit.
    """
    images, labels = load_digits(n_class=8, return_X_y=True)
    images = ((images - images.mean()) / images.std()).astype("float32")
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1024], order[1024:]
    return (images[train], labels[train]), (images[test], labels[test])
