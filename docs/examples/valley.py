"""Descend on the loss of two hidden units from equal and from different weights, and draw both.

`KERAS_BACKEND=jax python docs/examples/valley.py`; it needs the extra `plot`.
"""

import _figures
import numpy as np

INPUTS = np.linspace(-2, 2, 41)
RATE, STEPS = 0.1, 1000
# The weights that make the targets: any two that differ.
GOAL = (3.0, -1.0)
STARTS = {"equal weights": (-1.5, -1.5), "different weights": (-1.5, -1.4)}
COLORS = {"equal weights": _figures.ORANGE, "different weights": _figures.BLUE}


def outputs(first, second):
    """Return the outputs of two tanh units of one input each, added up."""
    return np.tanh(first * INPUTS) + np.tanh(second * INPUTS)


def loss(first, second):
    """Return the mean squared error."""
    return np.mean((outputs(first, second) - outputs(*GOAL)) ** 2)


def descend(start):
    """Return the weights before each step of gradient descent, and after the last: a row each."""
    weights = np.array(start)
    path = [weights]
    for _ in range(STEPS):
        error = outputs(*weights) - outputs(*GOAL)
        slopes = 1 - np.tanh(weights[:, None] * INPUTS) ** 2
        gradient = np.mean(2 * error * slopes * INPUTS, axis=1)
        weights = weights - RATE * gradient
        path.append(weights)
    return np.array(path)


def draw(paths):
    """Return a figure with the loss as a map, and the paths on it."""
    figure = _figures.new(5, 4.4)
    axes = figure.subplots()
    ticks = np.linspace(-2, 4, 121)
    heights = [[loss(first, second) for first in ticks] for second in ticks]
    levels = np.geomspace(0.01, 4, 16)
    axes.contour(ticks, ticks, heights, levels, colors="0.75", linewidths=0.8)
    axes.plot(ticks, ticks, ":", color="0.4", linewidth=1)
    for name, path in paths.items():
        axes.plot(*path.T, color=COLORS[name], linewidth=2, label=name)
        axes.plot(*path[-1], "o", color=COLORS[name])
    axes.plot(*paths["equal weights"][0], "s", color="0.2", label="start")
    axes.set(xlabel="weight of unit 1", ylabel="weight of unit 2", aspect="equal")
    axes.set_title("Loss of two units: lines of equal height")
    axes.legend(framealpha=1, edgecolor="white", loc="upper right")
    return figure


def main(arguments=None):
    """Descend, print and draw."""
    out = _figures.parser(__doc__.splitlines()[0]).parse_args(arguments).out
    paths = {}
    print(f"{'start':20}{'weights at the start':>22}{'at the end':>16}{'loss':>9}")
    for name, start in STARTS.items():
        paths[name] = descend(start)
        first, second = paths[name][-1]
        before = f"{start[0]:.2f} {start[1]:.2f}"
        print(f"{name:20}{before:>22}{first:10.2f}{second:6.2f}{loss(first, second):9.4f}")
    _figures.save(draw(paths), out / "valley.png")


if __name__ == "__main__":
    main()
