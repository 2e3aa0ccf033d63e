"""Plot the values of an initializer."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from keras_initx.cli._sample import as_matrix, condition_number, is_kernel, singular_values
from keras_initx.initializers import Initializer
from keras_initx.rendering._figures import BLUE, new_figure, save_figure, tidy

# Up to this many distinct values are shown as bars.
_FEW = 8
_BINS = 60


def plot(path: Path, initializer: Initializer, values: np.ndarray) -> None:
    """Plot a histogram of `values` and, if they form a matrix, their singular values.

    Args:
        path: Path of the output file. The suffix sets the format.
        initializer: The initializer of the values.
        values: The values.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the suffix is not that of a supported format.
    """
    is_matrix = is_kernel(initializer, values)
    title = textwrap.fill(repr(initializer), 110 if is_matrix else 65)
    figure = new_figure(f"{title}\nshape {values.shape}", size=(10 if is_matrix else 6, 4.2))
    axes = figure.subplots(1, 2 if is_matrix else 1, squeeze=False)[0]
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= _FEW:
        _plot_bars(axes[0], distinct, counts / values.size)
    else:
        _plot_histogram(axes[0], values.astype("float64").ravel())
    if is_matrix:
        _plot_singular_values(axes[1], as_matrix(values))
    tidy(axes, axis="y")
    save_figure(figure, path)


def _plot_bars(axis: Axes, distinct: np.ndarray, shares: np.ndarray) -> None:
    bars = axis.bar([f"{value:.6g}" for value in distinct], shares, width=0.5, color=BLUE)
    axis.bar_label(bars, [f"{share:.1%}" for share in shares], padding=2)
    axis.set_title("Values", fontsize=10)
    axis.set(xlabel="value", ylabel="fraction of all entries")
    axis.set(xlim=(-0.75, len(distinct) - 0.25), ylim=(0, 1.1), yticks=np.linspace(0, 1, 6))
    axis.yaxis.set_major_formatter(PercentFormatter(1))


def _plot_histogram(axis: Axes, values: np.ndarray) -> None:
    title, shown = "Values", values
    # A single frequent value would hide all others.
    zeros = np.mean(values == 0)
    if zeros > 0.01:
        title, shown = f"Values other than zero ({1 - zeros:.1%} of all)", values[values != 0]
    axis.hist(shown, _BINS, weights=np.full(shown.size, 1 / values.size), color=BLUE)
    axis.set_title(f"{title}\nmean {shown.mean():.2g}, standard deviation {shown.std():.3g}", fontsize=10)
    axis.set(xlabel="value", ylabel=f"share of all entries, in each of {_BINS} bins")
    axis.yaxis.set_major_formatter(PercentFormatter(1))


def _plot_singular_values(axis: Axes, matrix: np.ndarray) -> None:
    singular = singular_values(matrix)
    axis.plot(np.arange(1, len(singular) + 1), singular, "o-", color=BLUE, linewidth=1, markersize=3)
    axis.set_ylim(0, 1.1 * singular[0] or 1)
    rows, columns = matrix.shape
    axis.set_title(
        f"Singular values of the matrix of {rows} by {columns}\n"
        f"from {singular[0]:.3g} to {singular[-1]:.3g}, condition number: {condition_number(matrix, singular)}",
        fontsize=10,
    )
    axis.set(xlabel="index, in descending order", ylabel="singular value")
