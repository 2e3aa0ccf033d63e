"""Repeat the image study: six initializers of one classifier, each trained five times.

`KERAS_BACKEND=jax python docs/examples/image_study.py`; it needs the extra `studies` and
scikit-learn. It takes CIFAR-10 where Keras has it or can load it, otherwise scikit-learn's digits,
and says which. An interrupted run goes on where it stopped.
"""

import argparse
import functools
import pathlib

import keras_initx

import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

INITIALIZERS = (
    "random_normal",
    "random_uniform",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
)


def load():
    """Return the name of the data, and images with labels to train on and to validate with."""
    try:
        train, test = keras.datasets.cifar10.load_data()
    except Exception:  # Keras raises a bare one if a download fails.
        return "digits", digits()
    return "cifar10", tuple(((x / 255).astype("float32"), y.ravel()) for x, y in (train, test))


def digits():
    """Return 1347 images of 8 by 8 pixels in [0, 1] to train on, and 450 to validate with."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
    images, other_images, labels, other_labels = train_test_split(images, labels, random_state=0)
    return (images, labels), (other_images, other_labels)


def build(initializer, shape=(8, 8, 1)):
    """Return the compiled network, with one initializer for all kernels."""
    x = inputs = keras.Input(shape)
    for filters in (32, 64):
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", kernel_initializer=initializer
        )(x)
        # Evaluation uses moving averages. With Keras' momentum of 0.99 they need hundreds of steps
        # to follow the data, and 30 epochs of a small data set in large batches have fewer.
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.MaxPooling2D(padding="same")(x)
        x = layers.Dropout(0.25)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, "relu", kernel_initializer=initializer)(x)
    x = layers.Dropout(0.5)(x)
    outputs = layers.Dense(10, "softmax", kernel_initializer=initializer)(x)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(arguments=None):
    """Train, print the tables, and draw the plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30, help="epochs of each training")
    parser.add_argument("--repeats", type=int, default=5, help="trainings of each initializer")
    parser.add_argument("--out", default="out/image_study", help="folder of the study")
    options = parser.parse_args(arguments)
    name, data = load()
    study = keras_initx.compare_initializers(
        functools.partial(build, shape=data[0][0].shape[1:]),
        INITIALIZERS,
        data,
        repeats=options.repeats,
        epochs=options.epochs,
        batch_size=512,
        out=options.out,
        title=f"image_study on {name}",
    )
    print(study)
    study.plots(pathlib.Path(options.out) / "plots")


if __name__ == "__main__":
    main()
