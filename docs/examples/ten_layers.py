"""Run Gaussian inputs forward and gradients backward through ten layers, and measure them.

`KERAS_BACKEND=jax python docs/examples/ten_layers.py`; it needs the extra `plot`.
"""

import keras_initx

import _figures
import keras
import numpy as np

LAYERS, UNITS, EXAMPLES = 10, 500, 1000

INITIALIZERS = {
    "tanh": {
        "0.01 N": keras_initx.SmallNormal,
        "1.0 N": lambda seed: keras_initx.RandomNormal(stddev=1.0, seed=seed),
        "Xavier": keras_initx.FanInNormal,
        "Glorot": keras_initx.GlorotNormal,
        "He": keras_initx.HeNormal,
        "sparse": lambda seed: keras_initx.Sparse(gain="tanh", seed=seed),
        "orthogonal": lambda seed: keras_initx.Orthogonal(gain="tanh", seed=seed),
    },
    "relu": {
        "0.01 N": keras_initx.SmallNormal,
        "1.0 N": lambda seed: keras_initx.RandomNormal(stddev=1.0, seed=seed),
        "Xavier": keras_initx.FanInNormal,
        "He": keras_initx.HeNormal,
        "sparse": lambda seed: keras_initx.Sparse(gain="relu", seed=seed),
        "orthogonal": lambda seed: keras_initx.Orthogonal(gain="relu", seed=seed),
    },
}

NAMES = {"0.01 N": "SmallNormal", "1.0 N": "RandomNormal", "Xavier": "FanInNormal"}
# The four initializers in the figure of outputs and gradients, and their colors.
COMPARED = {
    name: _figures.choose_color(NAMES.get(name, name))
    for name in ("0.01 N", "1.0 N", "Xavier", "He")
}


def batch():
    """Return Gaussian inputs and independent Gaussian targets."""
    draws = np.random.default_rng(0)
    return (draws.normal(size=(EXAMPLES, UNITS)).astype("float32") for _ in ("inputs", "targets"))


# Tanh and ReLU cannot reach all Gaussian targets, which does not matter here.
IGNORED = ["unreachable targets"]


def run(activation, initializer):
    """Return the report of `diagnose` for a network with an initializer.

    It gets a seed for each layer.
    """
    inputs, targets = batch()
    layers = [
        keras.layers.Dense(
            UNITS, activation, kernel_initializer=initializer(seed=seed), name=f"layer_{seed}"
        )
        for seed in range(1, LAYERS + 1)
    ]
    model = keras.Sequential([keras.Input((UNITS,)), *layers])
    return keras_initx.diagnose(model, inputs, targets, loss="mse", ignore=IGNORED)


def measure(activation):
    """Return the reports of a network with each of the initializers, by name."""
    return {
        name: run(activation, initializer) for name, initializer in INITIALIZERS[activation].items()
    }


def kernel_gradient(layer):
    """Return the norm of the gradient of a layer's kernel."""
    return layer.weights[0].gradient


def show(activation, reports):
    """Print means and standard deviations by layer, and the problems that `diagnose` reports."""
    for title, value in (
        ("mean", lambda layer: f"{layer.after.mean:.1e}"),
        ("standard deviation", lambda layer: f"{layer.after.std:.1e}"),
    ):
        print_rows(f"{activation}: {title} of the outputs", reports, value)
    if activation == "tanh":
        print_rows(
            "tanh: share of outputs beyond ±0.99", reports, lambda layer: f"{layer.saturated:.1%}"
        )
    else:
        print_rows(
            "relu: share of units that are 0 for all examples",
            reports,
            lambda layer: f"{layer.dead:.1%}",
        )
    title = f"{activation}: norm of the gradient of the kernel"
    print_rows(title, reports, lambda layer: f"{kernel_gradient(layer):.1e}")
    print(f"{activation}: verdicts")
    for name, report in reports.items():
        found = [f"{verdict.problem} from {verdict.layers[0]} on" for verdict in report.verdicts]
        print(f"  {name:10}  {'; '.join(found) or 'no problem found'}")
    print()


def print_rows(title, reports, value):
    """Print a table with a row for each layer and a column for each initializer."""
    print(title)
    print(f"  {'layer':5}" + "".join(f"{name:>12}" for name in reports))
    for number in range(LAYERS):
        cells = (value(report.rows[number]) for report in reports.values())
        print(f"  {number + 1:5}" + "".join(f"{cell:>12}" for cell in cells))
    print()


def draw_histograms(activation, reports):
    """Return a figure with a histogram per layer and a row per initializer, on equal scales."""
    low, high, highest = (-1, 1, 1.8) if activation == "tanh" else (0, 4, 1.2)
    figure = _figures.new(10, 1.05 * len(reports) + 0.7)
    rows = figure.subplots(len(reports), LAYERS, sharex=True, squeeze=False)
    for row, (name, report) in zip(rows, reports.items(), strict=True):
        color = _figures.choose_color(NAMES.get(name, name))
        for axes, layer in zip(row, report.rows, strict=True):
            signal = layer.after
            counts = signal.counts.copy()
            if activation == "relu":
                counts[0] -= signal.zeros * signal.size
            density = counts / counts.sum() / np.diff(signal.edges)
            # The outline keeps histograms visible that are thinner than a pixel.
            axes.stairs(density, signal.edges, fill=True, color=color, edgecolor=color, linewidth=1)
            if signal.std > 10 * high:
                axes.text(high, highest / 2, "beyond →", ha="right", va="center", fontsize=8)
            axes.set(xlim=(low, high), ylim=(0, highest), xticks=(low, high), yticks=())
            axes.set_title(f"std {signal.std:.2g}", fontsize=8, pad=2)
            axes.spines[["top", "right", "left"]].set_visible(False)
        row[0].set_ylabel(name, rotation="horizontal", ha="right", va="center")
    for number, axes in enumerate(rows[-1], 1):
        axes.set_xlabel(f"layer {number}", fontsize=9)
    values = "Outputs" if activation == "tanh" else "Outputs other than 0"
    figure.suptitle(
        f"{values} of ten {activation} layers of {UNITS} units: densities, cut off at {highest}.  "
        "std: standard deviation of all outputs",
        fontsize=11,
    )
    return figure


def draw_gradients(measured):
    """Return a figure with a row for each activation: outputs left, gradients right."""
    figure = _figures.new(9, 6)
    panels = figure.subplots(len(measured), 2, sharex=True, squeeze=False)
    for (outputs, gradients), (activation, reports) in zip(panels, measured.items(), strict=True):
        for name, color in COMPARED.items():
            layers = reports[name].rows
            for axes, values in (
                (outputs, [layer.after.std for layer in layers]),
                (gradients, [kernel_gradient(layer) for layer in layers]),
            ):
                axes.plot(range(1, LAYERS + 1), values, "o-", color=color, markersize=4, label=name)
        outputs.set(title=f"{activation}: standard deviation of the outputs", yscale="log")
        gradients.set(title=f"{activation}: norm of the gradient of the kernel", yscale="log")
        _figures.tidy([outputs, gradients])
    for axes in panels[-1]:
        axes.set(xlabel="layer", xticks=range(1, LAYERS + 1))
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(COMPARED), frameon=False)
    return figure


def main(arguments=None):
    """Measure, print and draw."""
    out = _figures.parser(__doc__.splitlines()[0]).parse_args(arguments).out
    measured = {activation: measure(activation) for activation in INITIALIZERS}
    for activation, reports in measured.items():
        show(activation, reports)
        _figures.save(draw_histograms(activation, reports), out / f"ten_layers_{activation}.png")
    _figures.save(draw_gradients(measured), out / "ten_layers_gradients.png")


if __name__ == "__main__":
    main()
