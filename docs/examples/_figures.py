"""What the examples have in common: where their figures go, and how they look."""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.rcParams.update({"font.size": 10, "axes.titlesize": 10})

# Okabe and Ito's colours, which the colour-blind tell apart too.
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"


def parser(text) -> argparse.ArgumentParser:
    """Return a parser of the command line with the option `--out`."""
    found = argparse.ArgumentParser(description=text)
    found.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "figures", help="folder for the figures")
    return found


def new(width, height) -> Figure:
    """Return an empty figure of a size in inches; a page is 7.5 wide."""
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes) -> None:
    """Take from a plot what does not show data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)


def save(figure, path) -> None:
    """Write a figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor="white", dpi=120, metadata={"Software": None})
    print(f"Figure: {path.name}")


def band(axes, runs, color, style, label) -> None:
    """Draw the median of several runs, each a list with a value for each epoch, and the range of all of them."""
    epochs = range(1, len(runs[0]) + 1)
    axes.plot(epochs, np.median(runs, axis=0), style, color=color, label=label)
    axes.fill_between(epochs, np.min(runs, axis=0), np.max(runs, axis=0), color=color, alpha=0.2, linewidth=0)
