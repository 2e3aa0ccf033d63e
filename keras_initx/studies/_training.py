"""Train a model for one epoch, with all randomness determined by seeds."""

import math
import time
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array, KerasCallback
from keras_initx.initializers._seeding import derived_seed
from keras_initx.studies._arrays import count, take
from keras_initx.studies._types import Arrays, Metrics, Model, Structure

_EVALUATION_BATCH = 256


def train_epoch(model: Model, data: Arrays, epoch: int, batch_size: int, seed: int) -> Metrics:
    """Train `model` for one epoch, and evaluate it.

    Args:
        model: A compiled model.
        data: The result of `checked_data`.
        epoch: Number of the epoch, 1 for the first.
        batch_size: Number of examples in a batch.
        seed: Seed of the order of the examples and all other randomness in training.

    Returns:
        A dict of the metrics, with `"seconds"` and, in the first epoch, `"batch_losses"`.
    """
    training, validation = data
    order = _order(training, epoch, seed)
    x, y, weights = keras.utils.unpack_x_y_sample_weight(take(training, order))
    seed = derived_seed(seed, epoch)
    recorder = [_BatchLosses(batch_size, len(order))] if epoch == 1 else []
    # `fit` may also draw while it prepares a model, which happens only once per model.
    begin_with_seed = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: keras.utils.set_random_seed(seed))
    begin = time.perf_counter()
    # Shuffled here, because shuffling by the backends does not depend on the seed alone.
    history = model.fit(
        x,
        y,
        sample_weight=weights,
        batch_size=batch_size,
        initial_epoch=epoch - 1,
        epochs=epoch,
        shuffle=False,
        validation_data=validation,
        validation_batch_size=_EVALUATION_BATCH,
        callbacks=[begin_with_seed, *recorder],
        verbose=0,
    ).history
    seconds = time.perf_counter() - begin
    metrics = {name: as_number(values[-1]) for name, values in history.items()}
    losses = {"batch_losses": recorder[0].losses} if recorder else {}
    return {**metrics, **losses, "seconds": seconds}


def as_number(value: Any) -> float:
    """Return the value of a metric, which may be in an array of one element."""
    return float(np.reshape(_array(value), ()))


def _array(value: Any) -> Array:
    array: Array = keras.ops.convert_to_numpy(value)
    return array


def _order(training: Structure, epoch: int, seed: int) -> Array:
    """Return the indices of the examples in the order of `epoch`."""
    return np.random.default_rng(derived_seed(seed, epoch)).permutation(count(training))


def first_batch(data: Arrays, batch_size: int, seed: int) -> tuple[Structure, ...]:
    """Return the inputs and targets of the first batch in the first epoch of `train_epoch`."""
    training, _ = data
    batch: tuple[Structure, ...] = take(training[:2], _order(training, 1, seed)[:batch_size])
    return batch


def evaluate(model: Model, data: Arrays) -> Metrics:
    """Return the metrics of `model` on the validation data, as arrays."""
    return {f"val_{name}": _array(value) for name, value in _evaluate(model, data[1]).items()}


def build_like_fit(model: Model, data: Arrays) -> None:
    """Build a model without an `Input` in the way that `fit` and `evaluate` do on their first data."""
    _evaluate(model, take(data[1], slice(_EVALUATION_BATCH)))


def _evaluate(model: Model, part: tuple[Structure, ...]) -> Metrics:
    x, y, weights = keras.utils.unpack_x_y_sample_weight(part)
    metrics: Metrics = model.evaluate(
        x, y, sample_weight=weights, batch_size=_EVALUATION_BATCH, return_dict=True, verbose=0
    )
    return metrics


def diverged(metrics: Metrics) -> bool:
    """Return whether a loss or a metric is not a finite number."""
    return not all(math.isfinite(value) for value in metrics.values() if isinstance(value, float))


class _BatchLosses(KerasCallback):
    """Record the loss of each batch. Keras itself reports the running mean."""

    def __init__(self, batch_size: int, examples: int) -> None:
        super().__init__()
        self.losses: list[float] = []
        self._batch_size, self._examples = batch_size, examples
        self._seen, self._sum = 0, 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        seen = min((batch + 1) * self._batch_size, self._examples)
        total = float(logs["loss"]) * seen
        self.losses.append((total - self._sum) / (seen - self._seen))
        self._seen, self._sum = seen, total
