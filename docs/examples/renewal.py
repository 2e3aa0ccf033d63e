"""Train on with new data: from a model that is shrunk and perturbed, and with dormant units reset.

`KERAS_BACKEND=jax python docs/examples/renewal.py warm`, and the same with `dormant`; it needs
scikit-learn.
"""

import argparse

import keras_initx

import _digits
import keras
import numpy as np

RULES = {"hidden*kernel": "initx.he_normal"}


def network(units, layers, rate, seed):
    """Return a network of ReLU layers."""
    hidden = [keras.layers.Dense(units, "relu", name=f"hidden_{place}") for place in range(layers)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(8, name="classes")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    keras_initx.initialize(model, RULES, seed=seed)
    keras.utils.set_random_seed(seed)  # the order of the examples
    return model


def fit(model, images, labels, epochs):
    """Train until 99.5 % of the training data are right, and return the number of epochs."""
    for epoch in range(1, epochs + 1):
        history = model.fit(images, labels, batch_size=32, verbose=0).history
        if history["accuracy"][-1] >= 0.995:
            return epoch
    return epochs


def warm(seed, options):
    """Return the accuracy on test data and the epochs on all data for each start.

    The starts are new, warm, shrunk and perturbed.
    """
    draws = np.random.default_rng(seed)
    (images, labels), (test_images, test_labels) = _digits.load()
    images, test_images = (
        part + 1.5 * draws.normal(size=part.shape).astype("float32")
        for part in (images, test_images)
    )
    order = draws.permutation(len(images))
    rows = []
    for start in "new", "warm", "shrunk":
        model = network(100, 2, 0.003, seed)
        half = order[: len(order) // 2]
        if start != "new":
            fit(model, images[half], labels[half], options.epochs)
        if start == "shrunk":
            keras_initx.shrink_and_perturb(model, RULES, seed=seed)
        epochs = fit(model, images[order], labels[order], options.epochs)
        accuracy = model.evaluate(test_images, test_labels, batch_size=419, verbose=0)[1]
        rows.append([accuracy, epochs])
    return rows


def print_warm(options):
    """Print the accuracies from the three starts."""
    runs = np.array([warm(seed, options) for seed in range(options.repeats)])
    print(f"Noisy digits, half of them first, then all: means of {options.repeats} seeds")
    print(f"{'start':22}{'test accuracy':>14}{'epochs':>8}   accuracy - warm start for each seed")
    for name, (accuracies, epochs) in zip(
        ("new", "warm", "shrink_and_perturb"), runs.transpose(1, 2, 0), strict=True
    ):
        differences = "".join(f"{value:+8.1%}" for value in accuracies - runs[:, 1, 0])
        print(f"{name:22}{accuracies.mean():14.1%}{epochs.mean():8.1f}   {differences}")


def dormant(seed, threshold, options):
    """Return the accuracy on each task after training, and the share of dormant units."""
    draws = np.random.default_rng(seed)
    model = network(32, 3, 0.01, seed)
    (images, labels), _ = _digits.load()
    rows = []
    for task in range(options.tasks):
        shuffled = images[:, draws.permutation(64)]
        history = model.fit(
            shuffled, labels, batch_size=64, epochs=options.epochs, verbose=0
        ).history
        units = keras_initx.reset_dormant(
            model, shuffled, RULES, threshold=0.0, seed=task, dry_run=True
        )
        rows.append([history["accuracy"][-1], units.share])
        if threshold is not None:
            keras_initx.reset_dormant(model, shuffled, RULES, threshold=threshold, seed=task)
    return rows


def print_dormant(options):
    """Print the accuracies with and without resets."""
    print(
        f"Digits, pixels shuffled anew for each of {options.tasks} tasks: means of "
        f"{options.repeats} seeds"
    )
    print("Accuracy in training on the last five tasks,")
    print("and the share of units that are always 0 after the first and the last")
    for name, threshold in {"no reset": None, "threshold 0": 0.0, "threshold 0.1": 0.1}.items():
        runs = np.array([dormant(seed, threshold, options) for seed in range(options.repeats)])
        accuracies = runs[:, -5:, 0].mean(axis=1)
        shares = runs[:, :, 1].mean(axis=0)
        each = "".join(f"{value:8.1%}" for value in accuracies)
        print(
            f"{name:14}{accuracies.mean():8.1%}{shares[0]:8.0%}{shares[-1]:6.0%}   for each "
            f"seed{each}",
            flush=True,
        )


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["warm", "dormant"])
    parser.add_argument(
        "--epochs", type=int, help="rounds of training, by default at most 60, and 10 for each task"
    )
    parser.add_argument("--repeats", type=int, default=3, help="number of seeds")
    parser.add_argument("--tasks", type=int, default=20, help="number of tasks one after another")
    options = parser.parse_args(arguments)
    options.epochs = options.epochs or (60 if options.what == "warm" else 10)
    (print_warm if options.what == "warm" else print_dormant)(options)


if __name__ == "__main__":
    main()
