"""One trial: build a model, train it from one epoch to another, and record it."""

import contextlib
import dataclasses
import gc
import math
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_initx._seeds import derived_seed, seeded
from keras_initx._typing import Array, KerasDataset
from keras_initx.backends import backend
from keras_initx.diagnostics import diagnose
from keras_initx.models import optimizers_of
from keras_initx.structure import replaced
from keras_initx.studies._data import number_of_examples, select_examples
from keras_initx.studies._metric import check_metrics, directions
from keras_initx.studies._plan import TrialPlan
from keras_initx.studies._records import (
    BuildError,
    Data,
    Folder,
    Log,
    Mode,
    Part,
    Record,
    RecordError,
    Status,
    Structure,
    Trial,
)
from keras_initx.studies._state import restore_state, restored_afterward, state_of


@dataclasses.dataclass(frozen=True)
class Run:
    """What all trials of a run share.

    Attributes:
        folder: Where they are recorded.
        build: See `compare_initializers` and `random_restarts`.
        data: The result of `checked_data`.
        batch_size: Number of examples in a batch.
        monitor: Name of a required metric, or `None`.
        mode: Its direction, `"max"`, `"min"` or `"auto"`.
        first: Key of the first trial, whose metrics all others must have, or `None`.
        initializers: The initializers by name, if `build` takes one.
        diagnosis: Whether to diagnose the first batch.
    """

    folder: Folder
    build: Callable[..., keras.Model]
    data: Data
    batch_size: int
    monitor: str | None = None
    mode: Mode = "auto"
    first: str | None = None
    initializers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    diagnosis: bool = False


def run_trial(run: Run, plan: TrialPlan, on_epoch: Callable[[], None] = lambda: None) -> None:
    """Train a model and record it. Exceptions are recorded too.

    Args:
        run: What all trials share.
        plan: The trial.
        on_epoch: Function to call after each epoch.

    Raises:
        BuildError: If the trial could not be compared with others.
        RecordError: If a record does not reach the disk.
    """
    with backend.generators_preserved():
        log = run.folder.begin(plan.key)
        try:
            model = initial_model(run, plan)
            with restored_afterward(model), _compiled_once(model):
                if plan.previous:
                    state = run.folder.state(plan.previous)
                    resume(model, run.data, run.batch_size, state)
                end: Record = {"status": _train(model, run, plan, log, on_epoch)}
                if plan.keep_state:
                    end["state"] = run.folder.keep_state(plan.key, state_of(model))
                log(event="end", **end)
        except (BuildError, RecordError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            log(event="end", status="failed", error=reason, traceback=traceback.format_exc())


@contextlib.contextmanager
def _compiled_once(model: keras.Model) -> Iterator[None]:
    """Train and evaluate `model` by programs that may have been compiled for another one."""
    train_step = backend.compiled_once(model.train_step)
    test_step = backend.compiled_once(model.test_step)
    is_compiled = model.jit_compile and not model.run_eagerly
    is_distributed = keras.distribution.distribution() is not None
    if not train_step or not test_step or not is_compiled or is_distributed:
        yield
        return
    model.jit_compile = False  # Keras would compile the steps of each model.
    try:
        with (
            replaced(model, "train_step", train_step),
            replaced(model, "test_step", test_step),
        ):
            yield
    finally:
        model.jit_compile = True


# The models of earlier trials, their optimizers, and the variables that they trained, by their ids.
_SEEN: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def refuse_what_exists() -> None:
    """Let `initial_model` refuse the models, optimizers and variables that exist now.

    A worker process has copies of what `build` refers to, which no trial may have trained yet.
    """
    kinds = _classes(keras.Model) | _classes(keras.Optimizer) | _classes(keras.Variable)
    for value in gc.get_objects():
        if type(value) in kinds:
            _SEEN[id(value)] = value


def _classes(kind: type[Any]) -> set[type[Any]]:
    """Return a class and all classes that are derived from it."""
    found = {kind}
    for subclass in kind.__subclasses__():
        found |= _classes(subclass)
    return found


def initial_model(run: Run, plan: TrialPlan) -> keras.Model:
    """Return the untrained model of a trial.

    Raises:
        BuildError: If an earlier trial has trained it, or a part of it.
        TypeError: If it is not a Keras model that is compiled with an optimizer.
    """
    arguments = list(plan.arguments)
    if plan.initializer is not None:
        # Before the global seed is set: the draws of `build` must not depend on the initializer.
        initializer = run.initializers[plan.initializer]
        arguments.append(seeded(initializer, plan.initializer_seed))
    keras.utils.set_random_seed(plan.build_seed)
    model = run.build(*arguments)
    required = "`build` must return a compiled Keras model"
    if not isinstance(model, keras.Model):
        raise TypeError(f"{required}. Received: {model!r}")
    if not model.compiled or model.optimizer is None:
        raise TypeError(f"{required} with an optimizer. Received: {model!r} without one")
    parts = list(_trained_parts(model))
    for part in parts:
        if id(part) in _SEEN:
            raise BuildError(
                "`build` must make a new model in each trial, with a new optimizer, because what "
                "an earlier one has trained would begin trained. "
                f"Received: {part.name!r} again"
            )
    for part in parts:
        _SEEN[id(part)] = part
    return model


def _trained_parts(model: keras.Model) -> Iterator[Any]:
    """Yield what training changes: the model, its variables and its optimizers."""
    yield model
    yield from model.trainable_variables
    for optimizer in optimizers_of(model):
        # A new wrapper may hold the optimizer of another model.
        yield getattr(optimizer, "inner_optimizer", optimizer)


def resume(model: keras.Model, data: Data, batch_size: int, state: bytes) -> None:
    """Restore a state of training into a model that was built in the same way."""
    # `fit` and `evaluate` build a model without an `Input` on their first data.
    count = _evaluated_at_once(model, batch_size)
    _evaluate(model, select_examples(data[1], slice(count)), batch_size)
    restore_state(model, state)


def _train(
    model: keras.Model, run: Run, plan: TrialPlan, log: Log, on_epoch: Callable[[], None]
) -> Status:
    """Train and evaluate a model, and record each epoch."""
    if not plan.previous:
        record = _before_training(model, run)
        if run.diagnosis:
            diagnosis = diagnose_first_batch(model, run.data, run.batch_size, plan.order_seed)
            log(event="first batch", diagnosis=diagnosis)
        log(event="epoch", **record)
        # A draw of restarts is trained all the same.
        if plan.initializer is not None and _diverged(record["metrics"]):
            return "diverged"
    status: Status = "finished"
    last = plan.begin

    def end_epoch(metrics: Record) -> None:
        nonlocal status, last
        last = metrics["epoch"]
        log(event="epoch", metrics=metrics)
        on_epoch()
        if _diverged(metrics):
            status = "diverged"
            model.stop_training = True

    epochs = range(plan.begin + 1, plan.end + 1)
    train(model, run.data, epochs, run.batch_size, plan.order_seed, end_epoch)
    if status == "finished" and last < plan.end:
        raise RuntimeError(
            f"training must run for {plan.end} epochs, and ended after {last}; the model must not "
            "set `stop_training`, and `keras.config.max_epochs()` must not be less"
        )
    return status


def _diverged(metrics: Record) -> bool:
    """Return whether a loss or a metric is not a finite number."""
    numbers = [value for value in metrics.values() if isinstance(value, float)]
    return not all(math.isfinite(number) for number in numbers)


def _before_training(model: keras.Model, run: Run) -> Record:
    """Return the metrics of `model` before training and their directions, to record them.

    Raises:
        BuildError: If the trial could not be compared with others.
    """
    metrics: Record = {"epoch": 0}
    for name, result in _evaluate(model, run.data[1], run.batch_size).items():
        value = backend.host_view(result)
        if value.size > 1:
            raise BuildError(
                "`build` must return a model whose metrics are single numbers, for example by "
                f"`F1Score(average='macro')`. Received: val_{name} of shape {value.shape}"
            )
        metrics[f"val_{name}"] = float(value.item())
    known = directions(model, [name for name in metrics if name != "epoch"])
    first = Trial("")
    if run.first:
        first = run.folder.trial(run.first)
    trial = Trial("", epochs=(metrics,), directions=known)
    check_metrics(trial, first, run.monitor, run.mode)
    return {"metrics": metrics, "directions": known}


def _evaluate(model: keras.Model, part: Part, batch_size: int) -> Record:
    count = _evaluated_at_once(model, batch_size)
    x, y, weights = _given(part, count)
    results = model.evaluate(
        x, y, sample_weight=weights, batch_size=count, return_dict=True, verbose=0
    )
    return dict(results)


def _evaluated_at_once(model: keras.Model, batch_size: int) -> int:
    """Return the number of examples in a batch of evaluation, which keeps nothing for gradients."""
    has_fixed_size = any(tensor.shape[0] for tensor in getattr(model, "inputs", None) or ())
    return batch_size if has_fixed_size else 4 * batch_size


def diagnose_first_batch(model: keras.Model, data: Data, batch_size: int, seed: int) -> Record:
    """Run `diagnose` on `model` with its first batch. The model is left unchanged.

    Args:
        model: A compiled model that has not been trained.
        data: The result of `checked_data`.
        batch_size: Number of examples in a batch.
        seed: See `train`.

    Returns:
        A dict with `"layers"`, some statistics of each layer, and `"verdicts"`; or with an
        `"error"` for a model that `diagnose` does not support, which can still be trained.
    """
    # Before this, Keras may draw from torch's generator, but only for a model that is not compiled
    # yet.
    keras.utils.set_random_seed(derived_seed(seed, "diagnosis"))
    try:
        x, y = first_batch(data, batch_size, seed)
        report = diagnose(model, x, y, batch_size=batch_size)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    layers = []
    for layer in report.layers:
        layers.append(
            {
                "layer": layer.path,
                "std": layer.after and layer.after.std,
                "saturated": layer.saturated,
                "dead": layer.dead,
                "gradient_norm": layer.gradient and layer.gradient.norm,
            }
        )
    verdicts = [verdict.to_dict() for verdict in report.verdicts]
    return {"layers": layers, "verdicts": verdicts}


def first_batch(data: Data, batch_size: int, seed: int) -> Part:
    """Return the inputs and targets of the first batch in the first epoch of `train`."""
    training, _ = data
    order = _order(training, 1, seed)
    return tuple(select_examples(training[:2], order[:batch_size]))


def train(
    model: keras.Model,
    data: Data,
    epochs: range,
    batch_size: int,
    seed: int,
    on_epoch: Callable[[Record], None],
) -> None:
    """Train `model`, and evaluate it after each epoch.

    Args:
        model: A compiled model.
        data: The result of `checked_data`.
        epochs: Numbers of the epochs, 1 for the first.
        batch_size: Number of examples in a batch.
        seed: Seed of the order of the examples and all other randomness in training.
        on_epoch: Function to call after each epoch with a dict of the metrics, with `"epoch"`,
            `"seconds"` and, in the first epoch, `"batch_losses"`. It may stop the training.
    """
    training, validation = data
    evaluated_at_once = _evaluated_at_once(model, batch_size)
    examples = _given(training, batch_size)
    # All epochs at once, because `fit` prepares data each time that it is called.
    batches = None
    parts = [epochs]
    if isinstance(examples[0], _Batches):
        batches = examples[0]
    else:
        parts = [range(epoch, epoch + 1) for epoch in epochs]

    hooks = _EpochHooks(training, batches, epochs.start, batch_size, seed, on_epoch)
    callback = keras.callbacks.LambdaCallback(
        on_epoch_begin=hooks.begin_epoch,
        on_epoch_end=hooks.end_epoch,
        on_train_batch_end=hooks.end_batch if 1 in epochs else None,
    )
    # At the end of `fit`, of which there may be several, Keras would replace weights by their
    # averages.
    with replaced(model.optimizer, "finalize_variable_values", lambda variables: None):
        for part in parts:
            if batches is None:
                order = _order(training, part.start, seed)
                examples = keras.utils.unpack_x_y_sample_weight(select_examples(training, order))
            x, y, weights = examples
            model.fit(
                x,
                y,
                sample_weight=weights,
                batch_size=batch_size,
                initial_epoch=part.start - 1,
                epochs=part.stop - 1,
                shuffle=False,
                validation_data=_given(validation, evaluated_at_once),
                validation_batch_size=evaluated_at_once,
                callbacks=[callback],
                verbose=0,
            )
            if model.stop_training:
                break


class _EpochHooks:
    """What `train` does before and after each epoch, of which Keras has the number from 0.

    Args:
        training: The training data.
        batches: The batches that are trained with, to be shuffled, or `None` if they are already.
        first: Number of the first epoch of `train`.
        batch_size: See `train`.
        seed: See `train`.
        on_epoch: See `train`.
    """

    def __init__(
        self,
        training: Part,
        batches: "_Batches | None",
        first: int,
        batch_size: int,
        seed: int,
        on_epoch: Callable[[Record], None],
    ) -> None:
        self._training = training
        self._batches = batches
        self._first = first
        self._batch_size = batch_size
        self._seed = seed
        self._on_epoch = on_epoch
        self._begin = 0.0
        # By the number of batches so far, the loss that Keras reports: the mean of all of them.
        self._mean_losses: list[tuple[int, float]] = []

    def begin_epoch(self, epoch: int, logs: Any) -> None:
        """Shuffle the examples, and set the seeds of this epoch."""
        if self._batches is not None:
            self._batches.order = _order(self._training, epoch + 1, self._seed)
        # `fit` may also draw while it prepares a model, which happens only once per model.
        # TensorFlow prepares all its programs again after this; its layers draw from states of
        # their own.
        if epoch + 1 == self._first or keras.backend.backend() != "tensorflow":
            keras.utils.set_random_seed(derived_seed(self._seed, epoch + 1))
        self._begin = time.perf_counter()

    def end_batch(self, batch: int, logs: Record) -> None:
        """Note the mean loss so far."""
        self._mean_losses.append((batch + 1, float(logs.get("loss", math.nan))))

    def end_epoch(self, epoch: int, logs: Record) -> None:
        """Pass on the metrics."""
        seconds = time.perf_counter() - self._begin
        metrics: Record = {"epoch": epoch + 1}
        for name, value in logs.items():
            metrics[name] = float(backend.host_view(value).item())
        if epoch == 0:
            metrics["batch_losses"] = self._batch_losses()
        metrics["seconds"] = seconds
        self._on_epoch(metrics)

    def _batch_losses(self) -> list[float]:
        """Return the loss of each batch."""
        batches, means = np.transpose(self._mean_losses)
        examples = np.minimum(batches * self._batch_size, number_of_examples(self._training))
        with np.errstate(invalid="ignore"):  # a loss that is not finite
            sums = np.diff(examples * means, prepend=0)
            losses: list[float] = (sums / np.diff(examples, prepend=0)).tolist()
        return losses


class _Batches(KerasDataset):
    """Batches of the examples in `order`.

    How the backends shuffle does not depend on the seed alone.
    """

    def __init__(self, part: Part, batch_size: int) -> None:
        super().__init__()
        self._examples: Structure = part
        if keras.backend.backend() == "tensorflow":  # which would make one array of a list
            self._examples = keras.tree.lists_to_tuples(part)
        self._batch_size = batch_size
        self.order = np.arange(number_of_examples(part))

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self._batch_size)

    def __getitem__(self, index: int) -> Structure:
        begin = index * self._batch_size
        return select_examples(self._examples, self.order[begin : begin + self._batch_size])


def _given(part: Part, batch_size: int) -> Part:
    """Return inputs, targets and weights for `fit` and `evaluate`.

    They are batches if possible, which are ready sooner than arrays.
    """
    if any(array is None for array in keras.tree.flatten(part)):
        # TensorFlow takes no `None` in a batch.
        return tuple(keras.utils.unpack_x_y_sample_weight(part))
    return _Batches(part, batch_size), None, None


def _order(training: Part, epoch: int, seed: int) -> Array:
    """Return the indices of the examples in the order of `epoch`."""
    generator = np.random.default_rng(derived_seed(seed, epoch))
    return generator.permutation(number_of_examples(training))
