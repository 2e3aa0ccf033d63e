"""Descend a loss of two weights from equal and from different ones, and draw both ways.

`python docs/examples/valley.py`; it needs the extra `plot`.
"""

import _figures
import numpy as np

RATE, STEPS = 0.1, 3000
INPUTS = np.linspace(-2, 2, 41)
BEST = np.array([3.0, 0.3])
STARTS = {"equal": (0.1, 0.1), "different": (0.3, 0.1)}


def outputs(weights):
    """Return the sums of two tanh units, which have one weight each, for each of the inputs."""
    return np.tanh(np.multiply.outer(weights, INPUTS)).sum(axis=-2)


def loss(weights):
    """Return half of the mean squared error."""
    return ((outputs(weights) - outputs(BEST)) ** 2).mean(axis=-1) / 2


def gradient(weights):
    """Return the gradient of the loss for both weights."""
    slopes = 1 - np.tanh(np.multiply.outer(weights, INPUTS)) ** 2
    return (slopes * INPUTS * (outputs(weights) - outputs(BEST))).mean(axis=-1)


def descend(start):
    """Return the weights before the first and after each step."""
    way = [np.array(start)]
    for _ in range(STEPS):
        way.append(way[-1] - RATE * gradient(way[-1]))
    return np.array(way)


def draw(ways):
    """Return a figure with the ways in the plane of both weights, and the loss by step."""
    figure = _figures.new(7.5, 3.4)
    plane, course = figure.subplots(1, 2)
    grid = np.linspace(0, 3.5, 141)
    heights = loss(np.stack(np.meshgrid(grid, grid), axis=-1))
    levels = np.geomspace(1e-3, heights.max(), 16)
    options = {"levels": levels, "norm": "log", "cmap": "Greys", "alpha": 0.6}
    areas = plane.contourf(grid, grid, np.maximum(heights, levels[0]), **options)
    figure.colorbar(areas, ax=plane, ticks=[0.001, 0.01, 0.1, 1])
    plane.plot(grid, grid, ":", color="black", linewidth=1)
    for (name, way), color in zip(ways.items(), _figures.COLORS, strict=False):
        plane.plot(*way.T, color=color, linewidth=2)
        plane.plot(*way[-1], "o", color=color)
        course.plot(loss(way), color=color, label=name)
    plane.set(xlabel="weight of unit 1", ylabel="weight of unit 2", aspect="equal")
    plane.set_title("Loss, and two ways down")
    course.set(xlabel="step", title="Loss", xscale="symlog", ylim=(0, None))
    course.legend(title="weights at the start", frameon=False)
    _figures.tidy([course])
    return figure


def main(arguments=None):
    """Descend, print and draw."""
    out = _figures.parser(__doc__.splitlines()[0]).parse_args(arguments).out
    ways = {name: descend(start) for name, start in STARTS.items()}
    print(f"{'start':12}{'loss':>8}{'weights at the end':>20}")
    for name, way in ways.items():
        first, second = way[-1]
        print(f"{name:12}{loss(way[-1]):8.4f}{first:14.2f}{second:6.2f}")
    _figures.save(draw(ways), out / "valley.png")


if __name__ == "__main__":
    main()
