"""A callback that measures while a model is trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from keras_initx._checks import check_count
from keras_initx._extras import needed
from keras_initx._typing import KerasCallback
from keras_initx.diagnostics._diagnose import DiagnoseOptions, diagnose
from keras_initx.diagnostics._report import Report
from keras_initx.diagnostics._types import Arrays


class SignalMonitor(KerasCallback):
    """Diagnose the model every `every` steps of `fit`, with the same batch.

    The first record is made before the first step. The batch is the same each time, so that only the weights
    differ, and what dropout drops. Training goes on as it would without.

    Args:
        x: The batch, see `diagnose`.
        y: Its targets, or `None`: no gradients.
        every: Number of steps from one record to the next, a positive integer.
        **arguments: Other arguments of `diagnose`.

    Attributes:
        history: Dict from the number of steps taken to the `Report` of what was found then.

    Raises:
        TypeError: If `every` is not an integer.
        ValueError: If `every` is not positive.

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
        self.x: Arrays = x
        self.y: Arrays | None = y
        self.every: int = check_count("every", every)
        self.arguments: DiagnoseOptions = arguments
        self.history: dict[int, Report] = {}
        self._steps = self._steps_before_epoch = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Forget what was recorded in an earlier `fit`, and make the first record."""
        self.history = {}
        self._steps = 0
        self._record()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keep how many steps there have been: batches are counted from 0 again."""
        self._steps_before_epoch = self._steps

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Record if it is time."""
        before, self._steps = self._steps, self._steps_before_epoch + batch + 1
        # Several steps may have been taken in one call.
        if self._steps // self.every > before // self.every:
            self._record()

    def _record(self) -> None:
        if hasattr(self.model, "jax_state_sync"):
            # On JAX the weights come back to the model at the end of an epoch, or when asked for.
            self.model.jax_state_sync()
        self.history[self._steps] = diagnose(self.model, self.x, self.y, **self.arguments)

    def plot(self, path: str | Path) -> None:
        """Plot the course of the statistics of each layer. The argument and the errors are those of `Report.plot`."""
        needed("matplotlib", "plot")
        from keras_initx.diagnostics._plot_course import plot_course

        plot_course(self.history, path)

    def __repr__(self) -> str:
        return f"<SignalMonitor of {len(self.history)} reports, every {self.every} steps>"
