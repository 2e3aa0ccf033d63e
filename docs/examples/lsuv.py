"""Train networks on digits from He weights and from LSUV weights, and compare their losses.

`KERAS_BACKEND=jax python docs/examples/lsuv.py`; it needs scikit-learn.
"""

import argparse

import keras_initx

import _digits
import keras
import numpy as np
from keras import layers
from scipy.stats import ttest_rel

CLASSES = 8
TOLERANCE = 0.1


def tanh(shape, kernel):
    """Return a network of ten tanh layers."""
    hidden = [layers.Dense(64, "tanh", kernel_initializer=kernel) for _ in range(10)]
    last = layers.Dense(CLASSES, "softmax", kernel_initializer=kernel)
    return keras.Sequential([keras.Input(shape), layers.Flatten(), *hidden, last])


def vgg(shape, kernel):
    """Return pairs of convolutions and pooling, without normalization.

    After Simonyan and Zisserman (2015).
    """
    x = inputs = keras.Input(shape)
    for filters in (16, 32, 64):
        for _ in range(2):
            x = layers.Conv2D(
                filters, 3, padding="same", activation="relu", kernel_initializer=kernel
            )(x)
        x = layers.MaxPooling2D(padding="same")(x)
    x = layers.Dense(128, "relu", kernel_initializer=kernel)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(CLASSES, "softmax", kernel_initializer=kernel)(x))


def resnet(shape, kernel):
    """Return residual blocks with batch normalization before the activation.

    After He and others (2016).
    """

    def convolved(x, filters, size=3, strides=1):
        options = {"padding": "same", "use_bias": False, "kernel_initializer": kernel}
        return layers.Conv2D(filters, size, strides, **options)(x)

    def activated(x):
        return layers.Activation("relu")(layers.BatchNormalization()(x))

    inputs = keras.Input(shape)
    x = convolved(inputs, 16)
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = activated(x)
        x = convolved(y, filters, 1, strides) if strides > 1 else x
        y = convolved(activated(convolved(y, filters, strides=strides)), filters)
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(activated(x))
    return keras.Model(inputs, layers.Dense(CLASSES, "softmax", kernel_initializer=kernel)(x))


NETWORKS = {"tanh": tanh, "vgg": vgg, "resnet": resnet}


def losses(name, seed, data):
    """Return the test losses after one epoch, and the largest deviation of a variance.

    From He and from LSUV weights.

    Only the weights differ: both models get the same examples in the same order.
    """
    (images, labels), (test_images, test_labels) = data
    found, largest = [], 0.0
    for is_lsuv in (False, True):
        kernel = keras_initx.HeNormal(seed=keras.random.SeedGenerator(seed))
        model = NETWORKS[name](images.shape[1:], kernel)
        if is_lsuv:
            result = keras_initx.lsuv(model, images, seed=seed, tolerance=TOLERANCE)
            largest = max(abs(row.after - 1) for row in result.rows)
        model.compile("adam", "sparse_categorical_crossentropy")
        order = np.random.default_rng(seed).permutation(len(images))
        model.fit(images[order], labels[order], batch_size=32, shuffle=False, verbose=0)
        found.append(model.evaluate(test_images, test_labels, batch_size=419, verbose=0))
    return *found, largest


def main(arguments=None):
    """Train each network from several seeds, and print the losses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="number of seeds; by default 5"
    )
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="by default all"
    )
    options = parser.parse_args(arguments)
    data = tuple((images.reshape(-1, 8, 8, 1), labels) for images, labels in _digits.load())
    print(
        f"Test loss after one epoch, mean of {options.seeds} seeds, and the difference for each "
        "seed"
    )
    print(f"{'network':8}{'variance off by':>16}{'He':>8}{'LSUV':>8}{'p':>8}   LSUV - He")
    for name in options.networks:
        he, lsuv, off = np.array(
            [losses(name, seed, data) for seed in range(1, options.seeds + 1)]
        ).T
        p = ttest_rel(lsuv, he).pvalue if options.seeds > 1 else float("nan")
        differences = "".join(f"{value:+8.3f}" for value in lsuv - he)
        print(
            f"{name:8}{off.max():16.3f}{he.mean():8.3f}{lsuv.mean():8.3f}{p:8.3f}{differences}",
            flush=True,
        )


if __name__ == "__main__":
    main()
