"""The datasets of the command line, by name or from a file."""

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_initx.cli import _options

# The name in all tables, figures and reports, so that nobody mistakes the images for photographs.
SYNTHETIC = "synthetic CIFAR-shaped images"


class DataError(Exception):
    """Raised if a dataset is not available: no download, or a missing or invalid file."""


class Dataset(NamedTuple):
    """Images or sequences, and integer labels.

    Attributes:
        name: Its name in reports.
        train: Inputs and labels to train on.
        validation: Inputs and labels to evaluate on.
    """

    name: str
    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.train[0].shape[1:]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(max(self.train[1].max(), self.validation[1].max())) + 1


def load(name: Path | str) -> Dataset:
    """Load a dataset by name or from a file.

    Args:
        name: One of `DATA`, or the path of a `.npz` file with the arrays `x_train`, `y_train`,
            `x_test` and `y_test`.

    Raises:
        DataError: If it is not available.
    """
    if name == "digits":
        return digits()
    if name == "synthetic":
        return synthetic()
    if name in _options.DOWNLOADED:
        return _downloaded(str(name))
    return _from_file(Path(name))


def digits() -> Dataset:
    """Return scikit-learn's handwritten digits, 8 by 8 pixels in [0, 1].

    1347 are for training, 450 for validation.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
    images, test_images, labels, test_labels = train_test_split(images, labels, random_state=0)
    return Dataset("digits", (images, labels), (test_images, test_labels))


def synthetic() -> Dataset:
    """Return synthetic color images, 32 by 32 pixels in ten classes.

    4000 are for training, 1000 for validation. Each class has three smooth random patterns. An
    image is one of them, randomly shifted and flipped, with random contrast and noise.
    """
    draws = np.random.default_rng(0)
    count = 5000
    frequencies = np.abs(np.fft.fftfreq(32, 1 / 32))
    low = (frequencies[:, None] <= 4) & (frequencies <= 4)
    low[0, 0] = False  # the mean
    values = draws.normal(size=(10, 3, 3, 32, 32, 2))
    spectrum = low * (values[..., 0] + 1j * values[..., 1])
    patterns = np.fft.ifft2(spectrum).real
    patterns = patterns / patterns.std(axis=(-2, -1), keepdims=True)
    patterns = patterns.transpose(0, 1, 3, 4, 2)
    labels = draws.integers(0, 10, count)
    chosen = patterns[labels, draws.integers(0, 3, count)]
    contrast = draws.uniform(0.08, 0.2, (count, 1, 1, 1))
    images = 0.5 + contrast * (chosen + draws.normal(0, 1.5, chosen.shape))
    shifts = draws.integers(-6, 7, (count, 2))
    mirrored = draws.random(count) < 0.5
    for i in range(count):
        image = images[i]
        if mirrored[i]:
            image = image[:, ::-1]
        images[i] = np.roll(image, shifts[i], (0, 1))
    images = images.clip(0, 1).astype("float32")
    return Dataset(SYNTHETIC, (images[:4000], labels[:4000]), (images[4000:], labels[4000:]))


def _downloaded(name: str) -> Dataset:
    try:
        (images, labels), (test_images, test_labels) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception if a download fails.
        raise DataError(
            f"{name} could not be downloaded, and is not in Keras' cache; digits, synthetic and "
            f".npz files need no network: {error}"
        ) from error
    train = (_scaled(images), labels.ravel())
    validation = (_scaled(test_images), test_labels.ravel())
    return Dataset(name, train, validation)


def _from_file(path: Path) -> Dataset:
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
    except Exception as error:  # The exceptions for an invalid archive are not documented.
        raise DataError(
            f"{path} must be a .npz file with {', '.join(names[:-1])} and {names[-1]}: {error}"
        ) from error
    for name, array in arrays.items():
        if not array.ndim or not array.size or array.dtype.kind not in "biuf":
            raise DataError(
                f"{path} must hold numbers. Received: {name} of dtype {array.dtype}, "
                f"shape {array.shape}"
            )
    x_train, y_train, x_test, y_test = arrays.values()
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        has_one_each = len(x) == len(y) == y.size
        if not has_one_each or not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
            raise DataError(
                f"{path} must have one label for each input, a non-negative integer. Received: "
                f"x_{part} of shape {x.shape}, y_{part} of shape {y.shape} and dtype {y.dtype} "
                f"from {y.min()} on"
            )
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataError(
            f"{path} must have inputs of one shape. Received: x_train of shape {x_train.shape}, "
            f"x_test of shape {x_test.shape}"
        )
    # Those of one dtype alone would be scaled.
    if (x_train.dtype == np.uint8) != (x_test.dtype == np.uint8):
        raise DataError(
            f"{path} must have inputs of bytes, which are scaled to [0, 1], in both parts or in "
            f"neither. Received: x_train of dtype {x_train.dtype}, x_test of dtype {x_test.dtype}"
        )
    train = (_scaled(x_train), y_train.ravel())
    validation = (_scaled(x_test), y_test.ravel())
    return Dataset(path.stem, train, validation)


def _scaled(images: np.ndarray) -> np.ndarray:
    """Scale bytes to floats between 0 and 1, and add a channel axis to gray images.

    Other data is unchanged.
    """
    if images.dtype != np.uint8:
        return images.astype("float32")
    images = images.astype("float32") / 255
    if images.ndim == 3:
        return images[..., None]
    return images
