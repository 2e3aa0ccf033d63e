"""What the examples have in common: where their figures go, and how they look."""

import argparse
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams.update({"font.size": 10, "axes.titlesize": 10})

# Okabe and Ito's colors, which the color-blind tell apart too.
BLUE, ORANGE, GREEN, RED, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"


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
