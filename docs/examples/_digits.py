"""The handwritten digits that come with scikit-learn, 8 by 8 pixels each."""

import numpy as np
from sklearn.datasets import load_digits


def load():
    """Return images and labels for training, 1297 of them, and 500 for a test, as two pairs; pixels of mean 0."""
    images, labels = load_digits(return_X_y=True)
    images = ((images - images.mean()) / images.std()).astype("float32")
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[500:], order[:500]
    return (images[train], labels[train]), (images[test], labels[test])
