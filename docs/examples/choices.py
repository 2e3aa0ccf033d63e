"""Train a wide network from dense and from sparse weights, and a narrow one with L2 penalties.

`KERAS_BACKEND=jax python docs/examples/choices.py`; it needs scikit-learn.
"""

import argparse

import keras_initx

import _digits
import keras
import numpy as np
from scipy.stats import ttest_rel

CLASSES = 8
WIDE = {
    "he_normal": keras_initx.HeNormal,
    'Sparse(gain="relu")': lambda seed: keras_initx.Sparse(gain="relu", seed=seed),
    'Orthogonal(gain="relu")': lambda seed: keras_initx.Orthogonal("relu", seed),
}
PENALTIES = (0.0, 1e-4, 1e-2, 1.0)


def train(units, epochs, seed, initializer=keras_initx.HeNormal, penalty=0.0):
    """Train two ReLU layers with Adam, and return the training and the test accuracies."""
    train_set, test_set = _digits.load()
    hidden = [
        keras.layers.Dense(
            units,
            "relu",
            kernel_initializer=initializer(seed=10 * seed + number),
            kernel_regularizer=keras.regularizers.L2(penalty),
        )
        for number in range(2)
    ]
    last = keras.layers.Dense(
        CLASSES, "softmax", kernel_initializer=keras_initx.GlorotUniform(seed=10 * seed + 2)
    )
    model = keras.Sequential([keras.Input((64,)), *hidden, last])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    keras.utils.set_random_seed(seed)  # the order of the examples
    model.fit(*train_set, batch_size=64, epochs=epochs, verbose=0)
    return [
        model.evaluate(*data, verbose=0, return_dict=True)["accuracy"]
        for data in (train_set, test_set)
    ]


def print_wide(units, epochs, seeds):
    """Print how dense, sparse and orthogonal weights do in wide layers."""
    print(f"2 ReLU layers of {units} units, {epochs} epochs, {seeds} seeds: accuracy on test data")
    print(f"  {'weights':26}{'mean':>8}{'lowest':>9}{'highest':>9}   p, against he_normal")
    found = {}
    for name, initializer in WIDE.items():
        found[name] = np.array(
            [train(units, epochs, seed, initializer)[1] for seed in range(seeds)]
        )
        test, dense = found[name], found["he_normal"]
        p = "" if test is dense or seeds < 2 else f"{ttest_rel(test, dense).pvalue:.2f}"
        print(
            f"  {name:26}{test.mean():8.1%}{test.min():9.1%}{test.max():9.1%}   {p}".rstrip(),
            flush=True,
        )
    print()


def print_penalties(units, epochs, seeds):
    """Print how well penalties of several sizes let a network fit."""
    print(f"2 ReLU layers of {units} units, {epochs} epochs, {seeds} seeds: mean accuracy")
    print(f"  {'L2':8}{'training':>10}{'test':>8}")
    for penalty in PENALTIES:
        fitted, test = np.mean(
            [train(units, epochs, seed, penalty=penalty) for seed in range(seeds)], axis=0
        )
        print(f"  {penalty:<8g}{fitted:10.1%}{test:8.1%}", flush=True)


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=1024, help="width of the wide network")
    parser.add_argument("--epochs", type=int, default=10, help="rounds of training")
    parser.add_argument("--repeats", type=int, default=5, help="number of seeds")
    options = parser.parse_args(arguments)
    print_wide(options.units, options.epochs, options.repeats)
    print_penalties(64, options.epochs, options.repeats)


if __name__ == "__main__":
    main()
