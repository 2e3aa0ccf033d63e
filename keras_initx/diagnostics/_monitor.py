"""A callback that diagnoses a model during training, and plots the reports."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import MaxNLocator, PercentFormatter

from keras_initx._checks import check_count
from keras_initx._extras import import_optional
from keras_initx._typing import KerasCallback
from keras_initx.diagnostics._diagnose import DiagnoseOptions, check_arguments, diagnose
from keras_initx.diagnostics._measure import LayerReport
from keras_initx.diagnostics._plot import WIDTH, for_logarithm, mark, short, values_of, widen
from keras_initx.diagnostics._report import Report
from keras_initx.diagnostics._verdicts import Arrays, Thresholds
from keras_initx.rendering._figures import new_figure, save_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_initx.diagnostics._report import Report


# Up to this many layers are in a legend; more are shown by a color bar.
_LEGEND = 12
_MARKERS = "os^D"  # so that layers beside each other, whose colors are alike, differ


class _Course(NamedTuple):
    """A panel: a statistic of each layer, the scale of its axis, and the thresholds for it."""

    title: str
    scale: Literal["linear", "log", "share"]
    value: Callable[[LayerReport], float | None]
    thresholds: tuple[str, ...] = ()


_COURSES = (
    _Course(
        "standard deviation before the activation",
        "log",
        lambda layer: layer.signal.std if layer.signal else None,
        ("vanishing", "exploding"),
    ),
    _Course("mean of the output", "linear", lambda layer: layer.after.mean if layer.after else None),
    _Course("saturated", "share", lambda layer: layer.saturated, ("saturated",)),
    _Course("dead units", "share", lambda layer: layer.dead, ("dead",)),
    _Course("gradient norm", "log", lambda layer: layer.gradient_norm, ("exploding_gradient",)),
    _Course("gradient over weights", "log", lambda layer: layer.gradient_ratio),
)


def plot_course(history: Mapping[int, "Report"], path: str | Path) -> None:
    """Plot how the statistics of each layer change over the steps of a training.

    Args:
        history: Dict from a step to its `Report`.
        path: See `Report.plot`.
    """
    steps = list(history)
    names = [layer.name for layer in history[steps[0]].layers if layer.after] if steps else []
    by_name = [{layer.name: layer for layer in report.layers} for report in history.values()]
    courses = {}
    for course in _COURSES:
        lines = {name: values_of([layers.get(name) for layers in by_name], course.value) for name in names}
        if any(not np.isnan(line).all() for line in lines.values()):
            courses[course] = lines
    rows = math.ceil(len(courses) / 2)
    figure = new_figure(size=(WIDTH, 3 * rows + 0.2))
    axes = figure.subplots(rows or 1, 2, squeeze=False, sharex=True).ravel()
    # The last colors of the map are too pale for lines.
    palette = ListedColormap(colormaps["plasma"](np.linspace(0, 0.9, max(len(names), 2))))
    colors = ScalarMappable(Normalize(0.5, max(len(names), 2) + 0.5), palette)
    for axis, (course, lines) in zip(axes, courses.items(), strict=False):
        _plot_panel(axis, course, steps, lines, colors, history[steps[0]].thresholds)
    tidy(axes[: len(courses)], axis="y")
    for axis in axes[len(courses) :]:
        axis.set_axis_off()
    if names:
        _add_key(figure, axes, axes[len(courses) :], colors if len(names) > _LEGEND else None)
    save_figure(figure, path)


def _add_key(
    figure: "Figure", axes: "npt.NDArray[np.object_]", free: "npt.NDArray[np.object_]", colors: ScalarMappable | None
) -> None:
    """Say which line is which layer, where a cell of the grid is free, otherwise beside the panels."""
    if colors:
        cell = free[0].inset_axes((0, 0.45, 1, 0.1)) if len(free) else None
        place = {"cax": cell, "orientation": "horizontal"} if cell else {"ax": axes}
        bar = figure.colorbar(colors, label="layer, in the order of outputs", **place)
        bar.locator = MaxNLocator(integer=True)
        return
    handles, labels = axes[0].get_legend_handles_labels()
    if len(free):
        free[0].legend(handles, labels, loc="center", ncols=2, frameon=False)
    else:
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)


def _plot_panel(
    axis: "Axes",
    course: _Course,
    steps: Sequence[int],
    lines: Mapping[str, npt.NDArray[np.float64]],
    colors: ScalarMappable,
    thresholds: Thresholds,
) -> None:
    """Plot a line over the steps for each layer that has values, and the thresholds."""
    for number, (name, line) in enumerate(lines.items(), 1):
        if not np.isnan(line).all():
            shown = for_logarithm(line) if course.scale == "log" else line
            style = {"color": colors.to_rgba(np.array(number)), "marker": _MARKERS[number % len(_MARKERS)]}
            axis.plot(steps, shown, **style, label=short(name, 24), linewidth=1, markersize=4)
    if course.scale == "log":
        axis.set_yscale("log")
        widen(axis, decades=1)
    elif course.scale == "share":
        largest = max(np.nanmax(line, initial=0) for line in lines.values())
        # The threshold is in the panel, so that a share is large where it looks so.
        axis.set_ylim(-0.02, 1.1 * max(largest, *(getattr(thresholds, name) for name in course.thresholds)))
        axis.yaxis.set_major_formatter(PercentFormatter(1))
    mark(axis, thresholds, course.thresholds)
    axis.set_title(course.title, fontsize=10)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.xaxis.set_tick_params(labelbottom=True)
    axis.set_xlabel("steps", fontsize=8)


class SignalMonitor(KerasCallback):
    """Callback that diagnoses the model every `every` steps of `fit`, on a fixed batch.

    The first report is made before the first step. The batch is the same each time, so that only
    the weights and dropout masks differ. The callback does not affect training.

    Args:
        x: The batch, see `diagnose`.
        y: Its targets, or `None` to skip gradients.
        every: Number of steps between reports, a positive integer.
        **arguments: Other arguments of `diagnose`.

    Attributes:
        history: Dict from the number of steps taken to the `Report` at that step.

    Raises:
        TypeError: If `every` is not an integer, or another argument is one that `diagnose` refuses.
        ValueError: If `every` is not positive, or another argument is one that `diagnose` refuses.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = keras.random.normal((64, 8)), keras.random.normal((64, 1))
        >>> monitor = SignalMonitor(x, y, every=2)
        >>> history = model.fit(x, y, batch_size=16, epochs=1, verbose=0, callbacks=[monitor])
        >>> list(monitor.history)
        [0, 2, 4]
        >>> monitor.history[4].ok
        True
    """

    def __init__(
        self, x: Arrays, y: Arrays | None = None, *, every: int = 100, **arguments: Unpack[DiagnoseOptions]
    ) -> None:
        super().__init__()
        # Before the training, which a wrong argument would end.
        check_arguments(x, y, **arguments)
        self.x: Arrays = x
        self.y: Arrays | None = y
        self.every: int = check_count("every", every)
        self.arguments: DiagnoseOptions = arguments
        self.history: dict[int, Report] = {}
        self._steps = self._steps_before_epoch = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Clear the history of an earlier `fit`, and make the first report."""
        self.history = {}
        self._steps = 0
        self._record()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Remember the number of steps so far, because batches are counted from 0 again."""
        self._steps_before_epoch = self._steps

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Make a report if it is due."""
        before, self._steps = self._steps, self._steps_before_epoch + batch + 1
        # One call may cover several steps.
        if self._steps // self.every > before // self.every:
            self._record()

    def _record(self) -> None:
        if hasattr(self.model, "jax_state_sync"):
            # On JAX the weights are written back to the model at the end of an epoch, or on request.
            self.model.jax_state_sync()
        self.history[self._steps] = diagnose(self.model, self.x, self.y, **self.arguments)

    def plot(self, path: str | Path) -> None:
        """Plot the statistics of each layer over the training steps. Argument and errors as in `Report.plot`."""
        import_optional("matplotlib", "plot")

        plot_course(self.history, path)

    def __repr__(self) -> str:
        return f"<SignalMonitor of {len(self.history)} reports, every {self.every} steps>"
