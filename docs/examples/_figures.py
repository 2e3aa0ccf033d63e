"""Shared code of the examples: output folder, and the style of the figures of the package."""

import argparse
from pathlib import Path

from keras_initx.report._figures import COLORS, choose_color, new_figure, tidy

FOLDER = Path(__file__).parents[1] / "figures"

__all__ = [
    "BLUE",
    "COLORS",
    "ORANGE",
    "choose_color",
    "new",
    "new_figure",
    "parser",
    "save",
    "tidy",
]

# Of the colorblind-safe palette of Okabe and Ito, for what is not an initializer of kernels.
BLUE, ORANGE = "#0072b2", "#e69f00"


def parser(text) -> argparse.ArgumentParser:
    """Return a command-line parser with the option `--out`."""
    found = argparse.ArgumentParser(description=text)
    found.add_argument(
        "--out", type=Path, default=FOLDER, help="folder for the figures, by default docs/figures"
    )
    return found


def new(width, height):
    """Return an empty figure with a size in inches. A page is 7.5 inches wide."""
    figure = new_figure(size=(width, height))
    import matplotlib  # scripts that draw nothing import this module too

    matplotlib.rcParams.update({"font.size": 10, "axes.titlesize": 10})
    return figure


def save(figure, path, background="white") -> None:
    """Write a figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=background, dpi=120, metadata={"Software": None})
    print(f"Figure: {path.name} in {path.parent}")
