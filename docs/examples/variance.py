"""Predict the std of signals and gradients in ten layers with one formula, and measure it.

`KERAS_BACKEND=jax python docs/examples/variance.py`; it needs the extra `plot`.
"""

from itertools import pairwise

import keras_initx

import _figures
import keras
import numpy as np
from matplotlib.ticker import NullLocator

EXAMPLES = 1000
# Each layer has 0.8 times the units of the previous one, so that fan-in and fan-out differ.
WIDTHS = [1000, 800, 640, 512, 410, 328, 262, 210, 168, 134, 107]

# For each activation, rules by name: the variance of a weight, and the initializer that draws it.
RULES = {
    "linear": {
        "1 / fan-in": (lambda fan_in, fan_out: 1 / fan_in, keras_initx.FanInNormal),
        "1 / fan-out": (
            lambda fan_in, fan_out: 1 / fan_out,
            lambda seed: keras_initx.VarianceScaling(mode="fan_out", seed=seed),
        ),
        "Glorot": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), keras_initx.GlorotNormal),
    },
    "relu": {
        "He": (lambda fan_in, fan_out: 2 / fan_in, keras_initx.HeNormal),
        "1 / fan-in": (lambda fan_in, fan_out: 1 / fan_in, keras_initx.FanInNormal),
        "Glorot": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), keras_initx.GlorotNormal),
    },
}
# The fraction of the mean square that an activation passes on, forward and backward.
PASSED = {"linear": 1.0, "relu": 0.5}
NAMES = {
    "1 / fan-in": "FanInNormal",
    "1 / fan-out": "VarianceScaling",
    "Glorot": "GlorotNormal",
    "He": "HeNormal",
}
COLORS = {rule: _figures.choose_color(name) for rule, name in NAMES.items()}
TICKS = {"linear": (0.4, 0.6, 1, 2, 3), "relu": (0.02, 0.05, 0.1, 0.2, 0.5, 1)}
FANS = list(pairwise(WIDTHS))


def predict(activation, variance):
    """Return the standard deviations of the sums of each layer, and of their gradients."""
    sums, gradients = [], [1.0]
    signal = 1.0  # mean square of the inputs
    for fan_in, fan_out in FANS:
        sums.append(fan_in * variance(fan_in, fan_out) * signal)
        signal = PASSED[activation] * sums[-1]
    for fan_in, fan_out in reversed(FANS[1:]):
        gradients.append(fan_out * variance(fan_in, fan_out) * PASSED[activation] * gradients[-1])
    return np.sqrt(sums), np.sqrt(gradients[::-1])


def measure(activation, initializer):
    """Measure the same in a network with these weights.

    Inputs, and gradients at the last layer, are Gaussian.
    """
    draws = np.random.default_rng(0)
    signal = draws.normal(size=(EXAMPLES, WIDTHS[0])).astype("float32")
    kernels = [
        keras.ops.convert_to_numpy(initializer(seed=seed)(shape))
        for seed, shape in enumerate(FANS, 1)
    ]
    sums = []
    for kernel in kernels:
        sums.append(signal @ kernel)
        signal = np.maximum(sums[-1], 0) if activation == "relu" else sums[-1]
    gradients = [draws.normal(size=sums[-1].shape).astype("float32")]
    for kernel, below in zip(kernels[:0:-1], sums[-2::-1], strict=True):
        passed = gradients[-1] @ kernel.T
        gradients.append(passed * (below > 0) if activation == "relu" else passed)
    return [values.std() for values in sums], [values.std() for values in gradients[::-1]]


def draw(found):
    """Return a figure with a row for each activation: signals left, gradients right."""
    figure = _figures.new(9, 6)
    panels = figure.subplots(len(found), 2, sharex=True, sharey="row")
    for row, (activation, rules) in zip(panels, found.items(), strict=True):
        for rule, pairs in rules.items():
            for axes, (predicted, measured) in zip(row, pairs, strict=True):
                axes.plot(range(1, 11), predicted, color=COLORS[rule])
                axes.plot(range(1, 11), measured, "o", color=COLORS[rule], markersize=5)
        for axes, values in zip(row, ("sums", "gradients of the sums"), strict=True):
            axes.set(title=f"{activation}: standard deviation of the {values}", yscale="log")
            axes.set_yticks(TICKS[activation], [f"{tick:g}" for tick in TICKS[activation]])
            axes.yaxis.set_minor_locator(NullLocator())
            _figures.tidy([axes])
    for axes in panels[-1]:
        axes.set(xlabel="layer", xticks=range(1, 11))
    for rule, color in COLORS.items():
        panels[0, 0].plot([], [], color=color, label=rule)
    panels[0, 0].plot([], [], color="0.3", label="predicted")
    panels[0, 0].plot([], [], "o", color="0.3", label="measured")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def main(arguments=None):
    """Predict, measure, print and draw."""
    out = _figures.parser(__doc__.splitlines()[0]).parse_args(arguments).out
    found = {}
    print(f"{'':20}{'sums of':>17}{'gradients of':>21}")
    print(f"{'':20}{'layer 10':>17}{'layer 1':>21}")
    print(
        f"{'network':8}{'variance':12}{'predicted':>11}{'measured':>10}{'predicted':>11}"
        f"{'measured':>10}"
    )
    for activation, rules in RULES.items():
        found[activation] = {}
        for rule, (variance, initializer) in rules.items():
            pairs = list(
                zip(predict(activation, variance), measure(activation, initializer), strict=True)
            )
            found[activation][rule] = pairs
            (sums, measured_sums), (gradients, measured_gradients) = pairs
            print(
                f"{activation:8}{rule:12}{sums[-1]:11.3f}{measured_sums[-1]:10.3f}"
                f"{gradients[0]:11.3f}{measured_gradients[0]:10.3f}"
            )
    pairs = [pair for rules in found.values() for both in rules.values() for pair in both]
    errors = [np.abs(np.divide(measured, predicted) - 1).max() for predicted, measured in pairs]
    print(f"Largest difference in any layer: {max(errors):.1%}")
    _figures.save(draw(found), out / "variance.png")


if __name__ == "__main__":
    main()
