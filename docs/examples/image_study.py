"""Repeat the image study: six initializers of one classifier, each trained five times.

`KERAS_BACKEND=jax python docs/examples/image_study.py`; it needs the extra `studies` and
scikit-learn. It takes CIFAR-10 where Keras has it or can load it, otherwise scikit-learn's digits,
and says which. An interrupted run goes on where it stopped.
"""

import argparse
import functools
import pathlib

import keras_initx

import _figures
import keras
import numpy as np
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
BEYOND_CHANCE = 0.1  # of the way from chance to the best mean: a training has started to learn


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


def starts(study, name):
    """Return the epoch from which on each training stays beyond chance.

    This is not the first epoch beyond chance, because an accuracy near chance exceeds it
    occasionally by accident.
    """
    curves = {one: study.curves(one, study.monitor) for one in study.initializers}
    chance = np.mean([curve[:, 0].mean() for curve in curves.values()])
    best = max(curve[:, -1].mean() for curve in curves.values())
    at_chance = curves[name] < chance + BEYOND_CHANCE * (best - chance)
    at_chance[:, 0] = True  # an untrained network is at chance by definition
    return [np.flatnonzero(row)[-1] + 1 for row in at_chance]


def jumps(study, name):
    """Return how much the accuracy of each training jumps from epoch to epoch.

    This is the mean absolute change in the second half of training, without what rises or falls
    steadily.
    """
    curves = study.curves(name, study.monitor)
    changes = np.diff(curves[:, (curves.shape[1] - 1) // 2 :], axis=1)
    return np.abs(changes).mean(axis=1) - np.abs(changes.mean(axis=1))


def best_epochs(study, name):
    """Return the epoch at which each training has its best accuracy."""
    return study.curves(name, study.monitor).argmax(axis=1)


COURSE = {"epoch of leaving chance": starts, "best epoch": best_epochs, "mean jump": jumps}


def print_course(study):
    """Print how each initializer learns: medians of epochs, means of accuracies."""
    print(f"\n{'initializer':16}{'start':>6}{'best':>7}{'at':>4}{'jump':>9}")
    for row in study.statistics():
        name = row["arm"]
        start, at = (np.median(found(study, name)) for found in (starts, best_epochs))
        best = study.curves(name, study.monitor).max(axis=1).mean()
        jump = jumps(study, name).mean()
        print(f"{name:16}{start:6g}{best:7.3f}{at:4g}{jump:9.2g}")
    print("start: epoch from which on it stays beyond chance; best: accuracy, and at which epoch;")
    print("jump: from epoch to epoch over the second half, without what rises or falls steadily.")


def plot_distributions(study):
    """Plot uniform beside normal initializers: accuracy above, loss below."""
    figure = _figures.new_figure("validation solid, training dashed", size=(8, 7))
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    _figures.tidy(grid.flat)
    for row, metric in zip(grid, ("accuracy", "loss"), strict=True):
        row[0].set_ylabel(metric)
        for axis, kind in zip(row, ("uniform", "normal"), strict=True):
            axis.set_title(kind)
            for family in ("random", "glorot", "he"):
                for prefix, style in (("val_", "-"), ("", "--")):
                    curves = study.curves(f"{family}_{kind}", prefix + metric)
                    label = family if prefix else None
                    axis.plot(
                        curves.mean(axis=0), style, color=_figures.choose_color(family), label=label
                    )
    grid[0, 0].legend(frameon=False)
    return figure


def plot_trainings(study, panels):
    """Plot numbers of each training by initializer, and their medians, with a panel for each kind.

    `panels` are functions of the study and an initializer by label.
    """
    names = [row["arm"] for row in study.statistics()]
    figure = _figures.new_figure("each training, and their median", size=(8, 4))
    figure.get_layout_engine().set(wspace=0.05)  # between the last label of a panel and the next
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    _figures.tidy(axes)
    for axis, (label, values_of) in zip(axes, panels.items(), strict=True):
        axis.set_xlabel(label)
        for place, name in enumerate(names):
            values = np.asarray(values_of(study, name))
            color = _figures.choose_color(name)
            axis.plot(values, [place + 0.2] * len(values), "o", color=color, markersize=4)
            axis.plot(np.median(values), place, "|", color=color, markersize=14)
    axes[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    return figure


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
    print_course(study)
    plots = pathlib.Path(options.out) / "plots"
    plots.mkdir(exist_ok=True)
    study.plot(plots / "curves.png")
    gaps = {"gap in accuracy": lambda study, name: study.gaps(name)}
    plot_distributions(study).savefig(plots / "distributions.png", dpi=120)
    plot_trainings(study, COURSE).savefig(plots / "course.png", dpi=120)
    plot_trainings(study, gaps).savefig(plots / "gaps.png", dpi=120)


if __name__ == "__main__":
    main()
