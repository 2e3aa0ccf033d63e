"""Train ReLU networks on handwritten digits with biases of 0 and 0.01, and compare them.

`KERAS_BACKEND=jax python docs/examples/relu_bias.py`; it needs the extra `plot` and scikit-learn.
"""

import keras_initx

import _digits
import _figures
import keras
import numpy as np

LAYERS, UNITS = 4, 64

STARTS = {
    ("He", "0"): (keras_initx.HeNormal, keras.initializers.Zeros()),
    ("He", "0.01"): (keras_initx.HeNormal, keras_initx.ReLUBias(0.01)),
    ("0.01 N", "0"): (keras_initx.SmallNormal, keras.initializers.Zeros()),
    ("0.01 N", "0.01"): (keras_initx.SmallNormal, keras_initx.ReLUBias(0.01)),
}


def build(kernel, bias, seed):
    """Return a network of `LAYERS` hidden layers."""
    seeds = range(100 * seed, 100 * seed + LAYERS)
    hidden = [
        keras.layers.Dense(UNITS, "relu", kernel_initializer=kernel(seed=s), bias_initializer=bias)
        for s in seeds
    ]
    output = keras.layers.Dense(
        8, "softmax", kernel_initializer=keras_initx.GlorotUniform(seed=100 * seed + LAYERS)
    )
    model = keras.Sequential([keras.Input((64,)), *hidden, output])
    model.compile(
        keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def silent(report):
    """Return two fractions for the hidden layers: outputs that are 0, and dead units.

    A dead unit is 0 for all examples.
    """
    hidden = report.rows[:LAYERS]
    return np.mean([layer.after.zeros for layer in hidden]), np.mean(
        [layer.dead for layer in hidden]
    )


def run(kernel, bias, seed, epochs):
    """Train one network.

    Returns:
        The reports before and after training, and the history of losses and accuracies.
    """
    train_set, test_set = _digits.load()
    model = build(kernel, bias, seed)
    before = keras_initx.diagnose(model, *train_set)
    keras.utils.set_random_seed(seed)  # the order of the examples
    history = model.fit(*train_set, epochs=epochs, verbose=0, validation_data=test_set).history
    return before, keras_initx.diagnose(model, *train_set), history


def draw(losses):
    """Return a figure with the training loss by epoch for each initializer.

    With the range over repeats.
    """
    figure = _figures.new(8, 3.4)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, weights in zip(panels, ("He", "0.01 N"), strict=True):
        # The dashes come last: where both are equal, the other line is seen between them.
        for bias, color, style in (("0.01", _figures.BLUE, "-"), ("0", _figures.ORANGE, "--")):
            draw_runs(axes, losses[weights, bias], color, style, f"bias {bias}")
        axes.set(title=f"Weights: {weights}", xlabel="epoch", yscale="log")
        axes.legend(frameon=False)
        _figures.tidy([axes])
    panels[0].set_ylabel("loss on training data")
    figure.suptitle("Median over seeds, and the range from the best to the worst", fontsize=10)
    return figure


def draw_runs(axes, runs, color, style, label) -> None:
    """Draw the median of several runs, and the range of all of them.

    Each is a list with a value for each epoch.
    """
    epochs = range(1, len(runs[0]) + 1)
    axes.plot(epochs, np.median(runs, axis=0), style, color=color, label=label)
    axes.fill_between(
        epochs, np.min(runs, axis=0), np.max(runs, axis=0), color=color, alpha=0.2, linewidth=0
    )


def main(arguments=None):
    """Train, print and draw."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15, help="rounds of training")
    parser.add_argument("--repeats", type=int, default=5, help="number of seeds")
    options = parser.parse_args(arguments)
    losses, accuracies = {}, {}
    print(f"Means over {options.repeats} seeds; accuracy with the lowest and the highest")
    print(f"{'':15}{'outputs that are 0':>20}{'dead units':>16}{'gradient of':>13}{'accuracy':>10}")
    print(
        f"{'weights':8}{'bias':7}{'before':>10}{'after':>10}{'before':>8}{'after':>8}"
        f"{'layer 1':>13}"
    )
    for (weights, bias), start in STARTS.items():
        runs = [run(*start, seed, options.epochs) for seed in range(options.repeats)]
        zeros, dead = np.mean(
            [[silent(before), silent(after)] for before, after, _ in runs], axis=0
        ).T
        gradient = np.mean([before.rows[0].gradient.norm for before, *_ in runs])
        accuracy = np.array([history["val_accuracy"][-1] for *_, history in runs])
        losses[weights, bias] = [history["loss"] for *_, history in runs]
        accuracies[weights, bias] = accuracy
        print(
            f"{weights:8}{bias:7}{zeros[0]:10.1%}{zeros[1]:10.1%}{dead[0]:8.1%}{dead[1]:8.1%}"
            f"{gradient:13.1e}"
            f"{accuracy.mean():10.1%} ({accuracy.min():.1%} to {accuracy.max():.1%})"
        )
    for weights in ("He", "0.01 N"):
        change = accuracies[weights, "0.01"] - accuracies[weights, "0"]
        print(
            f"{weights}, bias 0.01 for 0: {change.mean():+.2%}, "
            f"better with {(change > 0).sum()} seeds, worse with {(change < 0).sum()}"
        )
    _figures.save(draw(losses), options.out / "relu_bias.png")


if __name__ == "__main__":
    main()
