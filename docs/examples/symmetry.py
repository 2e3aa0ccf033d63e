"""Train a network on digits from zero, constant and random weights, and count distinct units.

`KERAS_BACKEND=jax python docs/examples/symmetry.py`; it needs the extra `plot` and scikit-learn.
"""

import keras_initx

import _digits
import _figures
import keras
import numpy as np
from matplotlib.ticker import MaxNLocator

UNITS = 32
ROUNDING = 1e-3

# The activation of the hidden layer, and the initializers of the hidden layer and of the output
# layer.
STARTS = {
    "zeros": ("tanh", keras.initializers.Zeros(), keras.initializers.Zeros()),
    "zeros, sigmoid": ("sigmoid", keras.initializers.Zeros(), keras.initializers.Zeros()),
    "constant 0.1": ("tanh", keras.initializers.Constant(0.1), keras.initializers.Constant(0.1)),
    "constant, random out": (
        "tanh",
        keras.initializers.Constant(0.1),
        keras_initx.SmallNormal(seed=2),
    ),
    "small random": ("tanh", keras_initx.SmallNormal(seed=1), keras_initx.SmallNormal(seed=2)),
}


def distinct_units(model):
    """Return how many units of the hidden layer differ by more than rounding.

    A processor may sum up some units in another order than others, and training enlarges the
    difference of their last bits. With the optimizer below it stays far below `ROUNDING`.
    """
    kernel, bias, out, _ = (
        np.asarray(keras.ops.convert_to_numpy(weight)) for weight in model.weights
    )
    units = np.concatenate([kernel.T, bias[:, None], out], axis=1)
    same = np.abs(units[:, None] - units).max(axis=2) <= ROUNDING
    return sum(not same[unit, :unit].any() for unit in range(len(units)))


def train(activation, hidden, output, epochs):
    """Train a network with this activation and these initializers.

    Returns:
        A list with the number of distinct units before and after training, a list with the accuracy
        on the test data after each epoch, the names of the problems that `diagnose` reports before
        training, and the trained model.
    """
    train_set, test_set = _digits.load()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(UNITS, activation, kernel_initializer=hidden),
            keras.layers.Dense(8, "softmax", kernel_initializer=output),
        ]
    )
    # Adam divides by the size of a gradient: differences of 1e-8 would grow to 1 within ten epochs.
    model.compile(
        keras.optimizers.SGD(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    verdicts = keras_initx.diagnose(model, *train_set).verdicts
    problems = list(dict.fromkeys(verdict.problem for verdict in verdicts))
    distinct = [distinct_units(model)]
    keras.utils.set_random_seed(0)  # the order of the examples
    history = model.fit(*train_set, epochs=epochs, verbose=0, validation_data=test_set).history
    return [*distinct, distinct_units(model)], history["val_accuracy"], problems, model


def draw(accuracies, kernels):
    """Return a figure with the accuracy by epoch, and the first hidden units as images."""
    figure = _figures.new(9, 3.6)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1))
    axes = left.subplots()
    styles = (  # the first two accuracies are nearly equal: a thin line on a broad one
        {"color": _figures.COLORS[5], "linewidth": 6},
        {"color": _figures.COLORS[0], "linestyle": ":"},
        {"color": _figures.COLORS[1], "linestyle": "--"},
        {"color": _figures.COLORS[3], "linestyle": "-."},
        {"color": "black"},
    )
    for (name, accuracy), style in zip(accuracies.items(), styles, strict=True):
        axes.plot(range(1, len(accuracy) + 1), accuracy, label=name, **style)
    axes.set(xlabel="epoch", ylabel="share of test data", ylim=(0, 1.02), title="Accuracy")
    axes.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1, 0.36))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _figures.tidy([axes])
    right.suptitle("Weights of 8 hidden units after training", fontsize=10)
    rows = right.subplots(len(kernels), 8)
    for row, (name, kernel) in zip(rows, kernels.items(), strict=True):
        limit = abs(kernel).max() or 1
        for unit, axes in enumerate(row):
            axes.imshow(kernel[:, unit].reshape(8, 8), cmap="PuOr", vmin=-limit, vmax=limit)
            axes.set(xticks=(), yticks=())
        row[0].set_ylabel(
            name.replace(", ", ",\n"), rotation="horizontal", ha="right", va="center", fontsize=9
        )
    return figure


def main(arguments=None):
    """Train, print and draw."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="rounds of training")
    options = parser.parse_args(arguments)
    accuracies, kernels = {}, {}
    print(
        f"{'':20}{'distinct units of ' + str(UNITS):>20}{'accuracy':>10}  diagnose before training"
    )
    print(f"{'start':20}{'before':>10}{'after':>10}{'after':>10}")
    for name, start in STARTS.items():
        (before, after), accuracies[name], problems, model = train(*start, options.epochs)
        kernels[name] = keras.ops.convert_to_numpy(model.weights[0])
        found = ", ".join(problems) or "no problem found"
        print(f"{name:20}{before:10}{after:10}{accuracies[name][-1]:10.1%}  {found}")
    _figures.save(draw(accuracies, kernels), options.out / "symmetry.png")


if __name__ == "__main__":
    main()
