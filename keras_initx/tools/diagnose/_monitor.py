"""A callback that diagnoses a model during training."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._checks import check_count, check_flag
from keras_initx._typing import KerasCallback
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import Data, first_batch, make_batch
from keras_initx.report._terminal import set_verbosity
from keras_initx.tools.diagnose._diagnose import (
    check_call,
    check_options,
    drop_sample_weights,
    run_diagnosis,
)
from keras_initx.tools.diagnose._report import DiagnosisReport
from keras_initx.tools.diagnose._steps import LEAST_STEPS
from keras_initx.tools.diagnose.losses.known import LossLike


class SignalMonitor(KerasCallback):
    """Diagnoses your model every `every` steps of `fit`, on a fixed batch.

    Use it if training gets stuck or the loss becomes NaN after some time. You get the first report
    before the first step. The monitor does not affect training as long as all values are finite.

    - **Logs.** Each epoch logs `"problems"`, the number of problems of the last report. With
      `log_layers`, it also logs `"std/PATH"` and `"gradient/PATH"` by layer. Your callbacks after
      the monitor get these keys.
    - **A guess.** After the first epoch and 50 steps, you get a note if the loss is no better than
      a guess by the shares of the labels.
    - **NaN.** Training stops at the first step after which the loss or a weight is not finite. The
      warning names the step and the layer. The monitor checks the loss after each step, and weights
      at each report.

    Args:
        x: The batch, or a dataset whose first batch is used, see `diagnose`.
        y: Its targets, unless `x` has them. Without targets, gradients are skipped.
        every: Number of steps between reports, a positive integer.
        loss: A loss, see `diagnose`, by default the loss of the model.
        batch_size: Number of examples to use.
        ignore: Names of problems that you do not want to see.
        log_layers: Whether to add measures of each layer to the logs of an epoch. The progress bar
            shows all of them.

    Attributes:
        history: Dict from the number of steps taken to the `DiagnosisReport` at that step.
        stopped: The text of the warning if the monitor stopped training, otherwise `None`.

    Raises:
        TypeError: If `every` is not an integer, or `diagnose` refuses another argument.
        ValueError: If `every` is not positive, or `diagnose` refuses another argument.

    Example:
        >>> hidden = keras.layers.Dense(4, "tanh")
        >>> model = keras.Sequential([keras.Input((8,)), hidden, keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = keras.random.normal((64, 8)), keras.random.normal((64, 1))
        >>> monitor = SignalMonitor(x, y, every=2)
        >>> history = model.fit(x, y, batch_size=16, epochs=1, verbose=0, callbacks=[monitor])
        >>> list(monitor.history)
        [0, 2, 4]
        >>> monitor.history[4].ok
        True

    See Also:
        `diagnose` takes one batch. The page "Diagnose a model" explains all problems.
    """

    def __init__(
        self,
        x: Data,
        y: Data | None = None,
        *,
        every: int = 100,
        loss: LossLike | None = None,
        batch_size: int = 1024,
        ignore: Sequence[str] = (),
        log_layers: bool = False,
    ) -> None:
        super().__init__()
        # Before the training, which a wrong argument would end.
        check_options(loss, batch_size, ignore)
        self.log_layers: bool = check_flag("log_layers", log_layers)
        self.every: int = check_count("every", every)
        x, y = first_batch(x, y)
        self.x: Data = _copy_first(x, batch_size)
        self.y: Data | None = _copy_first(y, batch_size)
        self.loss: LossLike | None = loss
        self.batch_size: int = batch_size
        self.ignore: Sequence[str] = ignore
        self.history: dict[int, DiagnosisReport] = {}
        self.stopped: str | None = None
        self._steps = 0
        self._epochs = 0  # that are over

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Clear the history of an earlier `fit`, and make the first report."""
        self.history = {}
        self.stopped = None
        self._steps = 0
        self._epochs = 0
        check_call(self.model)
        # Only the model says how `x` is a batch.
        self.x, self.y = drop_sample_weights(make_batch(self.model, self.x, self.y)), None
        self._record()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make a report if it is due or the loss is not finite, and stop training in this case."""
        before = self._steps
        # One call may cover several steps. The last call of an epoch counts in full, too.
        self._steps += getattr(self.model, "steps_per_execution", 1)
        if self._steps // self.every > before // self.every:
            self._record()
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            self._stop("the loss")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the problems of the last report to `logs`."""
        self._epochs += 1
        if logs is None or not self.history:
            return
        report = list(self.history.values())[-1]
        logs["problems"] = float(len(report.problems))
        if self.log_layers:
            logs.update(_list_measures(report))

    def _record(self) -> None:
        # Keras writes present weights to the variables when `self.model` is read.
        model = self.model
        is_trained = self._epochs > 0 and self._steps >= LEAST_STEPS
        with set_verbosity(0):
            report = run_diagnosis(
                model,
                self.x,
                self.loss,
                self.batch_size,
                ignore=self.ignore,
                is_trained=is_trained,
            )
        self.history[self._steps] = report
        for layer in report.rows:
            for weight in layer.weights:
                # A mask, which is not trained, may be infinite.
                if math.isnan(weight.norm) or (weight.trainable and math.isinf(weight.norm)):
                    self._stop(weight.path)
                    return

    def _stop(self, what: str) -> None:
        """Stop training, and warn that the value named `what` is not finite."""
        if self.stopped is not None:
            return
        before = {step: report for step, report in self.history.items() if step < self._steps}
        self.stopped = f"training stopped after step {self._steps}, because {what} is not finite"
        if before:
            # After a step with gradients of NaN, all weights are NaN.
            step, report = list(before.items())[-1]
            largest = _find_largest_output(report)
            if largest is not None:
                self.stopped += (
                    f". After step {step}, {largest[0]} had the largest output, with standard "
                    f"deviation {largest[1]:.3g}"
                )
        if self._steps not in self.history:
            self._record()
        self.model.stop_training = True
        warnings.warn(self.stopped, stacklevel=2)

    def __repr__(self) -> str:
        return f"<SignalMonitor of {len(self.history)} reports, every {self.every} steps>"


def _copy_first(arrays: Data | None, count: int) -> Data | None:
    """Return a copy of the first examples, because training may shuffle or overwrite the arrays."""

    def copy_array(array: Any) -> Any:
        if array is None:  # an optional input
            return None
        if keras.ops.is_tensor(array):
            return backend.snapshot(array[:count])
        return np.array(np.asarray(array)[:count])

    return keras.tree.map_structure(copy_array, arrays)


def _list_measures(report: DiagnosisReport) -> dict[str, float]:
    """Return the measures of the layers with weights, by their keys in the logs of an epoch."""
    measures: dict[str, float] = {}
    for layer in report.rows:
        if not layer.weights:
            continue
        if layer.after is not None:
            measures[f"std/{layer.path}"] = layer.after.std
        if layer.gradient is not None:
            measures[f"gradient/{layer.path}"] = layer.gradient.norm
    return measures


def _find_largest_output(report: DiagnosisReport) -> tuple[str, float] | None:
    """Return the title of the layer with the largest output, and its standard deviation."""
    sizes = {}
    for layer in report.rows:
        if layer.after is not None:
            sizes[layer.title] = layer.after.std
    if not sizes:
        return None
    title = max(sizes, key=sizes.__getitem__)
    return title, sizes[title]
