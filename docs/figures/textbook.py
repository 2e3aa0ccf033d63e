"""Run the textbook comparison of initializers and save its table and its figure.

Run `python docs/figures/textbook.py`.

An interrupted run resumes where it stopped. Requires the extra `studies` and scikit-learn.
"""

from pathlib import Path

import keras_initx

import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

INITIALIZERS = {
    "glorot_uniform": "initx.glorot_uniform",
    "glorot_normal": "initx.glorot_normal",
    "he_uniform": "initx.he_uniform",
    "he_normal": "initx.he_normal",
    "random_uniform": "initx.random_uniform",
    "random_normal": "initx.random_normal",
    "sparse(gain=relu)": keras_initx.Sparse(gain="relu"),
    "orthogonal(gain=relu)": keras_initx.Orthogonal(gain="relu"),
}
OUT = Path("out", "textbook")


def digits():
    """Return 1347 images of 8 by 8 pixels in [0, 1] to train on, and 450 to validate with."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
    images, other_images, labels, other_labels = train_test_split(images, labels, random_state=0)
    return (images, labels), (other_images, other_labels)


def build(initializer):
    """Return a network with two convolutions, with one initializer for all kernels."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", kernel_initializer=initializer),
            layers.Conv2D(32, 3, strides=2, activation="relu", kernel_initializer=initializer),
            layers.Flatten(),
            layers.Dense(10, "softmax", kernel_initializer=initializer),
        ]
    )
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main():
    """Train 8 times 5 networks for 30 epochs."""
    study = keras_initx.compare_initializers(
        build,
        INITIALIZERS,
        digits(),
        repeats=5,
        epochs=30,
        batch_size=512,
        out=OUT,
        title="cnn on digits",
    )
    here = Path(__file__).parent
    here.joinpath("textbook.txt").write_text(f"{study}\n", encoding="utf-8")
    study.plot(here / "textbook.png")


if __name__ == "__main__":
    main()
