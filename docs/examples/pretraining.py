"""Train on few images of four digits, from random weights and from weights of other digits.

`KERAS_BACKEND=jax python docs/examples/pretraining.py`; it needs scikit-learn.
"""

import argparse
import tempfile
from pathlib import Path

import keras_initx

import _digits
import keras
import numpy as np

UNITS = 64


def split(images, labels):
    """Return images and labels of the digits 0 to 3, and of 4 to 7 with labels from 0."""
    low = labels < 4
    return (images[low], labels[low]), (images[~low], labels[~low] - 4)


def train(kernel, seed, train_set, test_set, epochs):
    """Train a network with this kernel in the hidden layer.

    Returns:
        The model, and its loss on the training data and its accuracy on the test data after each
        epoch.
    """
    out = keras_initx.GlorotUniform(seed=1000 + seed)
    layers = [
        keras.layers.Dense(UNITS, "relu", kernel_initializer=kernel),
        keras.layers.Dense(4, "softmax", kernel_initializer=out),
    ]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(
        keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    keras.utils.set_random_seed(seed)  # the order of the examples
    history = model.fit(
        *train_set, batch_size=8, epochs=epochs, verbose=0, validation_data=test_set
    )
    return model, (history.history["loss"], history.history["val_accuracy"])


def compare(seed, examples, epochs, path):
    """Return losses and accuracies on digits 4 to 7.

    From random weights and from weights pretrained on 0 to 3.
    """
    train_set, test_set = _digits.load()
    (source, target), (source_test, target_test) = split(*train_set), split(*test_set)
    # Different examples for each seed.
    chosen = np.random.default_rng(seed).permutation(len(target[0]))[:examples]
    few = target[0][chosen], target[1][chosen]
    model, _ = train(keras_initx.HeNormal(seed=seed), seed, source, source_test, epochs)
    np.save(path, keras.ops.convert_to_numpy(model.layers[0].kernel))
    kernels = keras_initx.HeNormal(seed=100 + seed), keras_initx.Pretrained(path)
    return [train(kernel, seed, few, target_test, epochs)[1] for kernel in kernels]


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="rounds of training")
    parser.add_argument("--repeats", type=int, default=5, help="number of seeds")
    parser.add_argument(
        "--examples", type=int, default=16, help="number of images to learn the new digits from"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "kernel.npy"))
        runs = [
            compare(seed, options.examples, options.epochs, path) for seed in range(options.repeats)
        ]
    print(
        f"{options.examples} images of the digits 4 to 7, {options.repeats} seeds: accuracy on "
        "test data"
    )
    print(f"{'epoch':>5}{'random':>10}{'pretrained':>12}{'difference for each seed':>28}")
    for epoch in sorted({1, 5, options.epochs} & set(range(1, options.epochs + 1))):
        random, pretrained = np.array(runs)[:, :, 1, epoch - 1].T
        differences = "".join(f"{value:+8.1%}" for value in pretrained - random)
        print(f"{epoch:5}{random.mean():10.1%}{pretrained.mean():12.1%}    {differences}")
    random, pretrained = np.array(runs)[:, :, 0, -1].mean(axis=0)
    print(f"Loss on the training data at the end: {random:.3f} random, {pretrained:.3f} pretrained")


if __name__ == "__main__":
    main()
