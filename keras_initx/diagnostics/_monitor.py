"""A callback that diagnoses a model during training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import keras
import numpy as np

from keras_initx._checks import check_count
from keras_initx._extras import import_optional
from keras_initx._typing import KerasCallback
from keras_initx.backends import backend
from keras_initx.diagnostics._diagnose import DiagnoseOptions, check_arguments, diagnose
from keras_initx.diagnostics._measure import Batch
from keras_initx.diagnostics._report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SignalMonitor"]


class SignalMonitor(KerasCallback):
    """Callback that diagnoses the model every `every` steps of `fit`, on a fixed batch.

    The first report is made before the first step. The batch is the same each time, a copy, so that
    only the weights and dropout masks differ. The callback does not affect training.

    Where a call of several steps, by `steps_per_execution`, finds fewer batches, the optimizer
    tells how many. A `LossScaleOptimizer` does not: with it and data of unknown length, the last
    call of an epoch counts as a whole one.

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
    """

    def __init__(
        self,
        x: Batch,
        y: Batch | None = None,
        *,
        every: int = 100,
        **arguments: Unpack[DiagnoseOptions],
    ) -> None:
        super().__init__()
        # Before the training, which a wrong argument would end.
        self._thresholds = check_arguments(x, y, **arguments)
        count = arguments.get("batch_size", 1024)
        self.x: Batch = _own_copy(x, count)
        self.y: Batch | None = _own_copy(y, count)
        self.every: int = check_count("every", every)
        self.arguments: DiagnoseOptions = arguments
        self.history: dict[int, Report] = {}
        self._steps = 0
        self._steps_before_epoch = 0
        self._updates_before = 0
        self._first_of_call: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Clear the history of an earlier `fit`, and make the first report."""
        self.history = {}
        self._steps = 0
        self._updates_before = self._updates() or 0
        self._record()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the number of steps so far, because batches are counted from 0 again."""
        self._steps_before_epoch = self._steps

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the first step of a call."""
        self._first_of_call = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make a report if it is due."""
        last = batch
        # Keras before 3.11 tells the first step of a call, later versions the last.
        if batch == self._first_of_call:
            last = batch + self._steps_of_call() - 1
        before = self._steps
        self._steps = self._steps_before_epoch + last + 1
        # One call may cover several steps.
        if self._is_due(before):
            self._correct()
        if self._is_due(before):
            self._record()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Correct the number of steps: the last call of an epoch may have found fewer batches."""
        self._correct()

    def _is_due(self, before: int) -> bool:
        return self._steps // self.every > before // self.every

    def _steps_of_call(self) -> int:
        return getattr(self.model, "steps_per_execution", 1)

    def _correct(self) -> None:
        """Count the steps that the last call has made.

        They are fewer than it was to make if it found fewer batches.
        """
        most = self._steps_of_call()
        if most == 1:
            return
        self._synchronize()
        updates = self._updates()
        if updates is not None:
            made = updates - self._updates_before
            if self._steps - most < made <= self._steps:
                self._steps = made
                return
        # The weights are updated in another way than once in each step.
        planned: Any = getattr(self, "params", None) or {}
        if planned.get("steps"):
            self._steps = min(self._steps, self._steps_before_epoch + planned["steps"])

    def _updates(self) -> int | None:
        """Return how often the optimizer was given gradients, or `None` if it does not tell."""
        optimizer = getattr(self.model, "optimizer", None)
        # It does not count the steps that it leaves out because gradients overflow.
        if optimizer is None or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            return None
        # `iterations` leaves out the steps between whose gradients are added up.
        counters = [variable for variable in optimizer.variables if variable.name == "iteration"]
        if not counters:
            return None
        return int(keras.ops.convert_to_numpy(counters[0]))

    def _record(self) -> None:
        self._synchronize()
        self.history[self._steps] = diagnose(self.model, self.x, self.y, **self.arguments)

    def _synchronize(self) -> None:
        if hasattr(self.model, "jax_state_sync"):
            # On JAX the weights are written back to the model at the end of an epoch, or on
            # request.
            self.model.jax_state_sync()

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Plot the statistics over the training steps. Otherwise like `Report.plot`.

        Lines are the first, the middle and the last layer with weights. The shaded range is that of
        all layers.
        """
        import_optional("matplotlib", "plot")
        from keras_initx.diagnostics._plot import plot_history

        layers = {step: report.layers for step, report in self.history.items()}
        return plot_history(layers, self._thresholds, path)

    def __repr__(self) -> str:
        return f"<SignalMonitor of {len(self.history)} reports, every {self.every} steps>"


def _own_copy(arrays: Batch | None, count: int) -> Batch | None:
    """Return a copy of the first examples, because training may shuffle or overwrite the arrays."""

    def copied(array: Any) -> Any:
        if array is None:  # an optional input
            return None
        if keras.ops.is_tensor(array):
            return backend.snapshot(array[:count])
        return np.array(np.asarray(array)[:count])

    return keras.tree.map_structure(copied, arrays)
