"""One trial of a comparison: train a model with one initializer, and record it."""

import dataclasses
import math
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_initx._seeds import derived_seed, isolated_rng, seeded
from keras_initx._typing import Array, KerasCallback
from keras_initx.diagnostics import diagnose
from keras_initx.studies._data import count, take
from keras_initx.studies._metric import BuildError, check_metrics, directions
from keras_initx.studies._plan import Run, TrialPlan
from keras_initx.studies._records import (
    Arrays,
    BuildWith,
    Folder,
    Metrics,
    Model,
    OnEpoch,
    Record,
    RecordError,
    Status,
    Structure,
    Trial,
)
from keras_initx.studies._reuse import compiled_once

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


# The models of earlier trials, and the variables that they trained, by their ids.
_SEEN: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def new_model(build: Callable[..., Model], *arguments: Any) -> Model:
    """Return the model that `build` returns.

    Raises:
        BuildError: If an earlier trial has trained it, or a part of it.
        TypeError: If it is not a Keras model.
    """
    model = build(*arguments)
    if not isinstance(model, keras.Model):
        raise TypeError(f"`build` must return a compiled Keras model. Received: {model!r}")
    parts = (model, *model.trainable_variables)
    again = [part.name for part in parts if id(part) in _SEEN]
    if again:
        raise BuildError(
            "`build` must make a new model in each trial, because a model that an earlier one has trained would begin "
            f"trained. Received: {again[0]!r} again"
        )
    _SEEN.update((id(part), part) for part in parts)
    return model


def before_training(model: Model, run: Run) -> Record:
    """Return the metrics of `model` before training and their directions, to record them.

    Raises:
        BuildError: If the trial could not be compared with others.
    """
    values = evaluate(model, run.data)
    several = [name for name, value in values.items() if np.size(value) > 1]
    if several:
        raise BuildError(
            "`build` must return a model whose metrics are single numbers, for example by "
            f"`F1Score(average='macro')`. Received: {several[0]} of shape {tuple(np.shape(values[several[0]]))}"
        )
    metrics = {name: as_number(value) for name, value in values.items()}
    known = directions(model, metrics)
    metrics = {"epoch": 0, **metrics}
    first = Folder(run.path).trial(run.first) if run.first else Trial("")
    check_metrics(Trial("", epochs=(metrics,), directions=known), first, run.monitor, run.mode)
    return {"metrics": metrics, "directions": known}


def diagnose_first_batch(model: Model, data: Arrays, batch_size: int, seed: int) -> Record:
    """Run `diagnose` on `model` with its first batch. The model is left unchanged.

    Args:
        model: A compiled model that has not been trained.
        data: The result of `checked_data`.
        batch_size: Number of examples in a batch.
        seed: See `train_epoch`.

    Returns:
        A dict with `"layers"`, some statistics of each layer, and `"verdicts"`; or with an
        `"error"` for a model that `diagnose` does not support, which can still be trained.
    """
    # Before this, Keras may draw from torch's generator, but only for a model that is not compiled yet.
    keras.utils.set_random_seed(derived_seed(seed, "diagnosis"))
    try:
        report = diagnose(model, *first_batch(data, batch_size, seed), batch_size=batch_size)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "layers": [_statistics(layer) for layer in report.layers],
        "verdicts": [dataclasses.asdict(verdict) for verdict in report.verdicts],
    }


def _statistics(layer: Any) -> Record:
    return {
        "layer": layer.name,
        "std": layer.after and layer.after.std,
        "saturated": layer.saturated,
        "dead": layer.dead,
        "gradient_norm": layer.gradient_norm,
    }


def run_trial(
    run: Run,
    build: BuildWith,
    initializers: Mapping[str, Any],
    epochs: int,
    diagnosis: bool,
    plan: TrialPlan,
    on_epoch: OnEpoch | None = None,
) -> None:
    """Train one model and record it. Exceptions are recorded too.

    Args:
        run: The parameters that all trials share.
        build: See `compare_initializers`.
        initializers: The initializers by name.
        epochs: Number of epochs.
        diagnosis: Whether to diagnose the first batch.
        plan: The trial.
        on_epoch: Function to call after each epoch.

    Raises:
        BuildError: If the trial could not be compared with others.
        RecordError: If a record does not reach the disk.
    """
    with isolated_rng(), Folder(run.path).begin(plan.key) as log:
        try:
            # Before the global seed is set, so that the draws of `build` do not depend on the initializer.
            initializer = seeded(initializers[plan.initializer], derived_seed(plan.seed, "draw"))
            keras.utils.set_random_seed(derived_seed(plan.seed, "build"))
            with compiled_once(new_model(build, initializer)) as model:
                order = derived_seed(plan.seed, "train")
                status: Status = "finished"
                record, epoch = before_training(model, run), 0
                if diagnosis:
                    found = diagnose_first_batch(model, run.data, run.batch_size, order)
                    log.write(event="first batch", diagnosis=found)
                while True:
                    log.write(event="epoch", **record)
                    if epoch and on_epoch:
                        on_epoch()
                    if diverged(record["metrics"]):
                        status = "diverged"
                    if status == "diverged" or epoch == epochs:
                        break
                    epoch += 1
                    metrics = train_epoch(model, run.data, epoch, run.batch_size, order)
                    record = {"metrics": {"epoch": epoch, **metrics}}
                log.write(event="end", status=status)
        except (BuildError, RecordError):
            raise
        except Exception as error:
            log.fail(error)
