"""Check that no layer's outputs grow or shrink with the width of a model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._checks import check_count
from keras_initx._keras import has_call
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._typing import Tensor
from keras_initx.backends._moments import Moments
from keras_initx.inspection._batch import (
    Data,
    check_finite,
    first_batch,
    first_examples,
    make_batch,
    to_array,
)
from keras_initx.inspection._build import ensure_built, run_with_built_layers
from keras_initx.inspection._inventory import Inventory, check_model, check_unshared, check_used
from keras_initx.inspection._watch import Call, Watch, Watcher, check_rows
from keras_initx.report._figures import COLORS, make_logarithmic, new_figure, tidy
from keras_initx.report._results import Judgement, Problem, Tabular
from keras_initx.report._table import Column
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.report._text import format_count, format_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# An exponent of the width up to this size counts as 0. Those of short training are not exact.
_LEVEL = 0.25
# The number of examples, from the start of the batch, whose outputs are measured.
_MEASURED = 1024
# The exponent with which the outputs of the last layer may shrink before training.
_SHRINKING = -0.5


@dataclass(frozen=True, eq=False)
class LayerSizes:
    """The size of the outputs of one layer.

    Attributes:
        path: The path of the layer.
        exponents: The exponent of the width in the size at each step, see `CoordinateCheck`.
        sizes: An array of shape `(steps + 1, widths)` with the root mean square of its outputs.
    """

    path: str
    exponents: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class CoordinateCheck(Tabular[tuple[str, ...]], Judgement):
    """The size of each layer's outputs in models of several widths.

    If you print it, you see how the outputs of each layer scale with the width. `plot` has a panel
    for each step and a line for each layer. The rows of `to_csv` are the layers at each step.

    Attributes:
        widths: The widths.
        layers: The paths of the layers in the first model.
        sizes: An array of shape `(steps + 1, layers, widths)` with the root mean square of each
            layer's output, before its activation if there is one; NaN if not all of it is finite.
            Step 0 is before training.
    """

    widths: list[int]
    layers: list[str]
    sizes: npt.NDArray[np.float64]

    @property
    def exponents(self) -> npt.NDArray[np.float64]:
        """The exponent of the width in the output size, for each step and layer.

        They are fitted by least squares, to three digits. NaN if a size is 0 or not finite.
        """
        with np.errstate(divide="ignore"):
            log_sizes = np.log(self.sizes)
        log_sizes[~np.isfinite(log_sizes)] = np.nan
        log_widths = np.log(self.widths)
        centered = log_widths - np.mean(log_widths)
        slopes = log_sizes @ centered / (centered @ centered)
        return np.asarray(np.round(slopes, 3) + 0.0)  # so that none is -0.0

    @property
    def uneven(self) -> dict[str, tuple[int, float]]:
        """The layers whose outputs depend on the width, with the worst step and its exponent.

        Exponents between -0.25 and 0.25 count as 0. The outputs of the last layer may shrink with
        the root of the width.
        """
        uneven = {}
        for layer, found in zip(self.layers, self.exponents.T, strict=True):
            lowest = -_LEVEL
            if layer == self.layers[-1]:
                lowest += _SHRINKING
            beyond = np.maximum(found - _LEVEL, lowest - found)
            if np.isnan(beyond).all():
                continue
            step = int(np.nanargmax(beyond))
            if beyond[step] > 0:
                uneven[layer] = step, float(found[step])
        return uneven

    @property
    def not_finite(self) -> dict[str, tuple[int, int]]:
        """The layers whose outputs are not finite, with the first step and the least width."""
        found = {}
        for place, layer in enumerate(self.layers):
            where = np.argwhere(~np.isfinite(self.sizes[:, place]))
            if len(where):
                step = int(where[0, 0])
                widths = [self.widths[width] for first, width in where if first == step]
                found[layer] = step, min(widths)
        return found

    @property
    def problems(self) -> list[Problem]:
        """The layers whose outputs are not finite or depend on the width."""
        found = []
        for layer, (step, width) in self.not_finite.items():
            text = f"outputs of {layer} are not finite from step {step} on, at width {width}"
            found.append(Problem(layer, text))
        for layer, (step, exponent) in self.uneven.items():
            if layer not in self.not_finite:
                text = (
                    f"outputs of {layer} grow with width^{format_number(exponent)} at step {step}"
                )
                found.append(Problem(layer, text))
        return found

    @property
    def rows(self) -> list[LayerSizes]:
        """A `LayerSizes` for each layer."""
        rows = []
        for place, layer in enumerate(self.layers):
            rows.append(LayerSizes(layer, self.exponents[:, place], self.sizes[:, place]))
        return rows

    @property
    def summary(self) -> str:
        """The number of layers with a problem, in one sentence."""
        layers = len({*self.not_finite, *self.uneven})
        return (
            f"{layers} of {format_count(len(self.layers), 'layer')} depend on the width or are not "
            "finite."
        )

    def _own_content(self) -> dict[str, Any]:
        return {"widths": list(self.widths)}

    def _records(self) -> list[dict[str, Any]]:
        records = []
        for step, (exponents, sizes) in enumerate(zip(self.exponents, self.sizes, strict=True)):
            for place, layer in enumerate(self.layers):
                record = {"step": step, "path": layer, "exponent": float(exponents[place])}
                for width, size in zip(self.widths, sizes[place], strict=True):
                    record[f"size_{width}"] = float(size)
                records.append(record)
        return records

    def _figure(self) -> "Figure":
        figure = new_figure(size=(1.5 + 2.2 * len(self.sizes), 3))
        axes = figure.subplots(1, len(self.sizes), sharey=True, squeeze=False)[0]
        for step, (axis, sizes) in enumerate(zip(axes, self.sizes, strict=True)):
            axis.set_prop_cycle(color=COLORS)
            for name, line in zip(self.layers, sizes, strict=True):
                axis.plot(self.widths, line, "o-", label=name, markersize=3, linewidth=1)
            axis.set_xscale("log", base=2)
            title = f"after step {step}" if step else "before training"
            axis.set_title(title, fontsize=10)
            axis.set_xlabel("width", fontsize=8)
        make_logarithmic(axes[0])
        axes[0].set_ylabel("root mean square")
        tidy(axes)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
        return figure

    def _rows(self) -> list[tuple[str, ...]]:
        rows = []
        for name, exponents in zip(self.layers, self.exponents.T, strict=True):
            rows.append((name, *map(format_number, exponents)))
        return rows

    def _columns(self) -> list[Column[tuple[str, ...]]]:
        columns: list[Column[tuple[str, ...]]] = [Column("", itemgetter(0), is_text=True)]
        for step in range(len(self.sizes)):
            columns.append(Column(f"step {step}", itemgetter(step + 1)))
        return columns

    def _headline(self) -> str:
        return f" of {len(self.layers)} layers at widths {self.widths}"

    def _below(self) -> list[str]:
        lines = ["Exponents of the width in the output size: 0 means independent of the width."]
        not_finite = []
        for layer, (step, width) in self.not_finite.items():
            not_finite.append(f"{layer} (from step {step} on, at width {width})")
        if not_finite:
            lines.append(f"Not finite: {', '.join(not_finite)}.")
        uneven = []
        for layer, (step, exponent) in self.uneven.items():
            uneven.append(f"{layer} ({format_number(exponent)} at step {step})")
        if uneven:
            lines.append(f"Depends on the width: {', '.join(uneven)}.")
        return lines


@shorten_signature
@takes_verbose
def coordinate_check(
    build: Callable[[int], keras.Model],
    widths: Sequence[int] | npt.NDArray[np.integer],
    x: Data,
    y: Data | None = None,
    *,
    steps: int = 3,
    verbose: Verbose = "auto",
) -> CoordinateCheck:
    """Measure how the size of each layer's outputs scales with the width, also during training.

    Use it before you transfer the learning rate of a small model to a large one. If initial weights
    and learning rates scale correctly with the width, the outputs of no layer grow or shrink with
    the width, before training and after some steps. The best learning rate of a narrow model then
    transfers to a wide one. Before the first step, the outputs of the last layer may shrink, at
    most with the square root of the width.

    The check shows the layers, not the weights. To find the weight whose initial values or learning
    rate scale wrongly, compare your model with the table of `mup`. You can pass depths instead of
    widths.

    Args:
        build: Function that takes a width and returns a compiled model with its initial weights.
        widths: At least two different widths.
        x: One batch, used in every step, or a dataset, whose first batch is used, see `diagnose`.
            Its sample weights count. Outputs are measured for its first 1024 examples.
        y: Targets, unless `x` has them.
        steps: Number of training steps.
        verbose: Whether to show progress: `"auto"` on a terminal, unless
            `keras.config.disable_interactive_logging()` was called; 1 always; 0 never.

    Returns:
        A `CoordinateCheck`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, `x` has no targets, does not fit to the inputs
            of the models, is not finite or has indices without a row in an embedding. Or if the
            models have no `call`, weights that they do not use, parts of weights in other
            processes, or different numbers of layers and no common name.

    Example:
        >>> from keras_initx import scaling
        >>> def build(width):
        ...     layers = [keras.layers.Dense(n, kernel_initializer="ones") for n in (width, 1)]
        ...     model = keras.Sequential([keras.Input((2,)), *layers])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x = np.ones((4, 2))
        >>> check = scaling.coordinate_check(build, [8, 16, 32], x, x[:, :1], steps=1)
        >>> check.exponents[0].tolist()
        [0.0, 1.0]

    Reference:
        Yang, Hu and others, "Tensor programs V: tuning large neural networks via zero-shot
        hyperparameter transfer", arXiv:2203.03466, 2022, appendix D.1.
    """
    check_count("steps", steps)
    # Layers refuse the integers of NumPy.
    widths = [int(check_count("widths", width)) for width in widths]
    if len(set(widths)) < 2:
        raise ValueError(
            f"`widths` must have at least two different widths. Received: widths={show(widths)}"
        )
    x, y = first_batch(x, y)
    found: list[list[dict[str, float]]] = []  # of each model, after each step
    paths: dict[str, str] = {}  # of the layers of the first model, by their names
    with show_progress("coordinate check", len(widths), "widths") as advance:
        for width in widths:
            model = check_model("build", build(width))
            if model.optimizer is None:
                raise ValueError(
                    f"`build` must return a compiled model. Received: {show(model.name)}"
                )
            if not has_call(model):
                raise ValueError(
                    "`build` must return a model with a `call`, not one whose `train_step` trains "
                    f"others. Received: model of type {type(model).__name__}"
                )
            batch = first_examples(make_batch(model, x, y), None)
            if batch.y is None and model.loss is not None:
                raise ValueError(
                    "`y` is required, by itself or in the batches of `x`, for the loss of the "
                    "model. Received: y=None"
                )
            measured = first_examples(batch.x, _MEASURED)
            ensure_built(model, measured)
            inventory = Inventory(model)
            check_used("model", inventory)
            check_unshared("build", inventory)
            if not paths:
                own_names = inventory.names
                paths = {own_names[layer]: path for layer, path in inventory.paths.items()}
            after_steps = [_sizes(model, measured)]
            for _ in range(steps):
                model.train_on_batch(*batch)
                after_steps.append(_sizes(model, measured))
            found.append(after_steps)
            advance(1)
    names = list(found[0][0])
    # With as many layers in each model, their names may differ, as automatic names do.
    same_number = len({len(after_steps[0]) for after_steps in found}) == 1
    if not same_number:
        for after_steps in found:
            names = [name for name in names if name in after_steps[0]]
    if not names:
        raise ValueError(
            "`build` must return models with the same number of layers, or with layers of the same "
            f"names. Received: models with neither, for widths={show(widths)}"
        )
    sizes = []
    for after_steps in found:
        of_model = []
        for step in after_steps:
            if same_number:
                of_model.append(list(step.values()))
            else:
                of_model.append([step[name] for name in names])
        sizes.append(of_model)
    layers = [paths[name] for name in names]
    return CoordinateCheck(widths, layers, np.moveaxis(np.array(sizes), 0, -1))


def _sizes(model: keras.Model, x: Data) -> dict[str, float]:
    """Return the root mean square of the output of each layer, by its name.

    Outputs are taken in training mode, before the activation if there is one.
    """

    def measured() -> dict[str, float]:
        watch = Watch(Inventory(model))
        recorder = _SizeRecorder(watch)
        watch.observe(x, recorder, training=True)
        return recorder.sizes()

    sizes = run_with_built_layers(model, x, measured)
    if any(map(math.isnan, sizes.values())):
        check_finite(x)
    return sizes


class _SizeRecorder(Watcher):
    """Measures the outputs of layers with weights or an activation, before the activation.

    Args:
        watch: The watch of the pass.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        # In the order in which layers are first seen.
        self._outputs: dict[keras.Layer, Moments] = {}
        self._before: dict[keras.Layer, Moments] = {}

    def before(self, call: Call) -> None:
        check_rows(call, self._watch.paths)

    def activated(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        self._outputs.setdefault(layer, Moments())
        self._before.setdefault(layer, Moments()).add(to_array(values))

    def after(self, call: Call) -> None:
        if call.is_seen:
            outputs = self._outputs.setdefault(call.operation, Moments())
            if call.operation not in self._before:
                outputs.add(call.values)

    def sizes(self) -> dict[str, float]:
        """Return the root mean square of each layer that has values, by its name.

        It is NaN if a value is not finite.
        """
        found = {}
        for layer, outputs in self._outputs.items():
            moments = self._before.get(layer, outputs)
            if moments.size:
                size = math.hypot(moments.mean, moments.std)
                found[self._watch.layers[layer]] = size if math.isfinite(size) else math.nan
        return found
