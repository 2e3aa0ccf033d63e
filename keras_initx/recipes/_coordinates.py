"""The coordinate check: how the size of each layer's outputs scales with the width, before and during training."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._checks import check_count
from keras_initx.diagnostics import Report, diagnose
from keras_initx.diagnostics._report import number
from keras_initx.diagnostics._verdicts import Arrays
from keras_initx.models._weights import check_model
from keras_initx.rendering._export import as_json
from keras_initx.rendering._figures import COLORS, new_figure, save_figure, tidy
from keras_initx.rendering._table import Column, Table
from keras_initx.rendering._terminal import progress


@dataclass(frozen=True, eq=False, repr=False)
class CoordinateCheck:
    """The size of each layer's outputs in models of several widths. `print` shows how it scales with the width.

    Attributes:
        widths: The widths.
        layers: The names of the layers in the first model.
        sizes: An array of shape `(steps + 1, layers, widths)` with the root mean square of each
            layer's output, before its activation if there is one. Step 0 is before training.
    """

    widths: list[int]
    layers: list[str]
    sizes: npt.NDArray[np.float64]

    @property
    def exponents(self) -> npt.NDArray[np.float64]:
        """The exponent of the width in the output size by least squares, to three digits, for each step and layer.

        NaN where a size is 0 or not finite.
        """
        with np.errstate(divide="ignore"):
            logarithms = np.log(self.sizes)
        logarithms[~np.isfinite(logarithms)] = np.nan
        widths = np.log(self.widths) - np.mean(np.log(self.widths))
        slopes: npt.NDArray[np.float64] = logarithms @ widths / (widths @ widths)
        return np.round(slopes, 3) + 0.0  # so that none is -0.0

    def to_json(self) -> str:
        """Return the result as JSON."""
        values = asdict(self) | {"sizes": self.sizes.tolist(), "exponents": self.exponents.tolist()}
        return as_json(values, indent=1)

    def plot(self, path: str | Path) -> None:
        """Plot the sizes against the width, with a panel for each step and a line for each layer.

        Requires matplotlib, which the extra `plot` installs.

        Args:
            path: Path of the output file. The suffix sets the format.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written.
            ValueError: If the suffix is not that of a supported format.
        """
        figure = new_figure(size=(1.5 + 2.2 * len(self.sizes), 3))
        axes = figure.subplots(1, len(self.sizes), sharey=True, squeeze=False)[0]
        for step, (axis, sizes) in enumerate(zip(axes, self.sizes, strict=True)):
            for name, line, color in zip(self.layers, sizes, itertools.cycle(COLORS), strict=False):
                shown = np.where(line > 0, line, np.nan)
                axis.plot(self.widths, shown, "o-", color=color, label=name, markersize=3, linewidth=1)
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_title(f"after step {step}" if step else "before training", fontsize=10)
            axis.set_xlabel("width", fontsize=8)
        axes[0].set_ylabel("root mean square")
        tidy(axes)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
        save_figure(figure, path)

    def __str__(self) -> str:
        return f"{self._table().as_text(rule=True)}{_CAPTION}"

    def __repr__(self) -> str:
        return f"<CoordinateCheck of {len(self.layers)} layers at widths {self.widths}>"

    def _repr_html_(self) -> str:
        return f"{self._table().as_html()}<p>{_CAPTION}</p>"

    def _table(self) -> Table:
        steps: list[Column[int]] = [
            Column(f"step {step}", lambda layer, found=found: number(found[layer]))  # type: ignore[misc]
            for step, found in enumerate(self.exponents)
        ]
        names = Column[int]("layer", lambda layer: self.layers[layer], is_text=True)
        return Table.of([names, *steps], range(len(self.layers)))


_CAPTION = "Exponents of the width in the output size: 0 means independent of the width."


def coordinate_check(
    build: Callable[[int], keras.Model],
    widths: Sequence[int] | npt.NDArray[np.integer],
    x: Arrays,
    y: Arrays,
    *,
    steps: int = 3,
) -> CoordinateCheck:
    """Measure how the size of each layer's outputs scales with the width of a model, before and during training.

    If initial weights and learning rates scale correctly with the width, the outputs of no layer
    grow or shrink with it, also after some training steps. The best learning rate of a narrow model
    then transfers to a wide one. Before the first step, the outputs of the last layer may shrink,
    at most with the square root of the width.

    Args:
        build: Function that takes a width and returns a compiled model with its initial weights.
        widths: At least two different widths.
        x: One batch of inputs, used in every step.
        y: Targets.
        steps: Number of training steps.

    Returns:
        A `CoordinateCheck`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or the models do not have the same number of layers.

    Example:
        >>> from keras_initx import recipes
        >>> def build(width):
        ...     layers = [keras.layers.Dense(units, kernel_initializer="ones") for units in (width, 1)]
        ...     model = keras.Sequential([keras.Input((2,)), *layers])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x = np.ones((4, 2))
        >>> check = recipes.coordinate_check(build, [8, 16, 32], x, x[:, :1], steps=1)
        >>> check.exponents[0].tolist()
        [0.0, 1.0]

    Reference:
        Yang, Hu and others, "Tensor programs V: tuning large neural networks via zero-shot hyperparameter transfer",
        arXiv:2203.03466, 2022, appendix D.1.
    """
    check_count("steps", steps)
    widths = [int(check_count("widths", width)) for width in widths]  # layers refuse the integers of NumPy
    if len(set(widths)) < 2:
        raise ValueError(f"`widths` must have at least two different widths. Received: {widths=!r}")
    columns: list[list[list[float]]] = []
    names: list[str] = []
    with progress("coordinate check", len(widths), "widths") as advance:
        for width in widths:
            reports = _reports(check_model("build", build(width)), x, y, steps)
            found = [layer.name for layer in reports[0].layers if layer.signal]
            names = names or found
            if len(found) != len(names):
                raise ValueError(
                    f"`build` must return models with the same number of layers. Received: {len(names)} with width "
                    f"{widths[0]}, and {len(found)} with width {width}"
                )
            columns.append([_sizes(report) for report in reports])
            advance(1)
    return CoordinateCheck(widths, names, np.moveaxis(np.array(columns), 0, -1))


def _reports(model: keras.Model, x: Any, y: Any, steps: int) -> list[Report]:
    """Return the reports of `diagnose` before training and after each step."""
    reports = [diagnose(model, x)]
    for _ in range(steps):
        model.train_on_batch(x, y)
        reports.append(diagnose(model, x))
    return reports


def _sizes(report: Report) -> list[float]:
    return [float(np.hypot(layer.signal.mean, layer.signal.std)) for layer in report.layers if layer.signal]
