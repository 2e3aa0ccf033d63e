"""One trial: make a model, train it, and return its record."""

import contextlib
import gc
import math
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._keras import list_layers, preserve_names
from keras_initx._received import show
from keras_initx._typing import Array, KerasDataset
from keras_initx.backends._current import backend
from keras_initx.initializers._seeds import derived_seed
from keras_initx.inspection._former_values import preserve_variables
from keras_initx.inspection._hooks import replace_attribute
from keras_initx.inspection._optimizers import list_optimizers
from keras_initx.tools.studies._data import number_of_examples, select_examples
from keras_initx.tools.studies._metric import known_directions, resolve_metric
from keras_initx.tools.studies._settings import Settings
from keras_initx.tools.studies._types import BuildError, Record, Split, Structure


class Repeat(NamedTuple):
    """The seeds of a repeat, which are the same for all arms.

    Attributes:
        model: Seed of all draws of `Job.make`.
        training: Seed of the order of the examples, and of all other randomness in training.
    """

    model: int
    training: int


class Job(NamedTuple):
    """The data that all trials of a study share, and that each process gets.

    Attributes:
        make: Function that takes an arm and the seed of a repeat, and returns a compiled model.
        settings: The settings of the study.
        must_begin_finite: Whether a model has diverged if its metrics are not finite before
            training. An initializer is to blame for this. A better rate or draw may fix it.
        names: The first counts of automatic names in each trial, the same in any process.
    """

    make: Callable[[Any, int], keras.Model]
    settings: Settings
    must_begin_finite: bool = False
    names: Mapping[str, int] | None = None


def trial(job: Job, arm: Any, repeat: Repeat) -> Record:
    """Train a model and return its record. Exceptions are recorded too.

    Returns:
        A dict with the `"status"`: `"finished"`, `"diverged"` (a metric was not finite) or
        `"failed"`. A finished or diverged trial has the `"epochs"`, a dict of metrics for each, the
        first one before training. It also has the `"directions"` of metrics that Keras knows. A
        failed trial has the `"error"` and the `"traceback"`.

    Raises:
        BuildError: If the trial could not be compared with others.
    """
    # Threads wait here for each other.
    with backend.generators_preserved(), preserve_names(job.names):
        record: Record = {}
        try:
            model = new_model(job, arm, repeat)
            # Parts that `build` did not make, such as augmentation, begin each trial in the same
            # state.
            untrained = [*model.non_trainable_variables, *backend.buffers(list_layers(model))]
            with preserve_variables(untrained, lasting=True):
                train(model, job, repeat, record)
        except BuildError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return {"status": "failed", "error": reason, "traceback": traceback.format_exc()}
        return record


def train(model: keras.Model, job: Job, repeat: Repeat, record: Record) -> None:
    """Train a model, and add the results that `trial` returns to `record`."""
    with _compiled_once(model):
        before = _before_training(model, job)
        names = [name for name in before if name != "epoch"]
        record |= {"status": "finished", "epochs": [before]}
        record["directions"] = known_directions(model, names)
        # An error now rather than after training.
        resolve_metric(record, job.settings.monitor, job.settings.mode)
        if job.must_begin_finite and not _is_finite(before):
            record["status"] = "diverged"
        else:
            _fit(model, job, repeat.training, record)


# The models of earlier trials, their optimizers, and the variables that they trained, by their ids.
_SEEN: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def refuse_what_exists() -> None:
    """Let `new_model` refuse the models, optimizers and variables that exist now.

    A worker process has copies of all objects that `build` refers to. With these, each trial would
    begin with the same weights.
    """
    kinds = _classes(keras.Model) | _classes(keras.Optimizer) | _classes(keras.Variable)
    for value in gc.get_objects():
        if type(value) in kinds:
            _SEEN[id(value)] = value


def _classes(kind: type[Any]) -> set[type[Any]]:
    """List a class and all classes that are derived from it."""
    found = {kind}
    for subclass in kind.__subclasses__():
        found |= _classes(subclass)
    return found


def new_model(job: Job, arm: Any, repeat: Repeat) -> keras.Model:
    """Build an untrained model.

    Raises:
        BuildError: If an earlier trial has trained it, or a part of it.
        TypeError: If it is not a Keras model that is compiled with an optimizer.
    """
    model = job.make(arm, repeat.model)
    required = "`build` must return a compiled Keras model"
    if not isinstance(model, keras.Model):
        raise TypeError(f"{required}. Received: {show(model)}")
    if not model.compiled or model.optimizer is None:
        raise TypeError(f"{required} with an optimizer. Received: {show(model)} without one")
    parts = list(_trained_parts(model))
    for part in parts:
        if id(part) in _SEEN:
            raise BuildError(
                "`build` must make a new model in each trial, with a new optimizer, because a "
                f"model of an earlier trial would begin trained. Received: {show(part.name)} again"
            )
    for part in parts:
        _SEEN[id(part)] = part
    return model


def _trained_parts(model: keras.Model) -> Iterator[Any]:
    """Yield the objects that training changes: the model, its variables and its optimizers."""
    yield model
    yield from model.trainable_variables
    for optimizer in list_optimizers(model):
        # A new wrapper may hold the optimizer of another model.
        yield getattr(optimizer, "inner_optimizer", optimizer)


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
            replace_attribute(model, "train_step", train_step),
            replace_attribute(model, "test_step", test_step),
        ):
            yield
    finally:
        model.jit_compile = True


def _before_training(model: keras.Model, job: Job) -> Record:
    """Measure the metrics of `model` before training.

    Raises:
        BuildError: If a metric is more than a number.
    """
    batches = Batches(job.settings.data[1], _evaluated_at_once(model, job.settings.batch_size))
    metrics: Record = {"epoch": 0}
    for name, result in model.evaluate(batches, return_dict=True, verbose=0).items():
        value = backend.host_view(result)
        if value.size > 1:
            raise BuildError(
                "`build` must return a model whose metrics are single numbers, for example by "
                f"`F1Score(average='macro')`. Received: val_{name} of shape {value.shape}"
            )
        metrics[f"val_{name}"] = float(value.item())
    return metrics


def _evaluated_at_once(model: keras.Model, batch_size: int) -> int:
    """Choose the number of examples in a batch of evaluation, which keeps nothing for gradients."""
    has_fixed_size = any(tensor.shape[0] for tensor in getattr(model, "inputs", None) or ())
    return batch_size if has_fixed_size else 4 * batch_size


def _is_finite(metrics: Record) -> bool:
    return all(math.isfinite(value) for value in metrics.values())


def _fit(model: keras.Model, job: Job, seed: int, record: Record) -> None:
    """Train `model`, and record its metrics after each epoch."""
    settings = job.settings
    training, validation = settings.data
    batches = Batches(training, settings.batch_size)
    begin = 0.0

    def begin_epoch(epoch: int, logs: Any) -> None:
        nonlocal begin
        batches.order = _order(training, epoch + 1, seed)
        # `fit` may also draw while it prepares a model, which happens only once per model.
        # TensorFlow prepares all its programs again after this; its layers draw from states of
        # their own.
        if epoch == 0 or keras.backend.backend() != "tensorflow":
            keras.utils.set_random_seed(derived_seed(seed, epoch + 1))
        begin = time.perf_counter()

    def end_epoch(epoch: int, logs: Record) -> None:
        seconds = time.perf_counter() - begin
        metrics: Record = {"epoch": epoch + 1}
        for name, value in logs.items():
            metrics[name] = float(backend.host_view(value).item())
        record["epochs"].append({**metrics, "seconds": seconds})
        if not _is_finite(metrics):
            record["status"] = "diverged"
            model.stop_training = True

    model.fit(
        batches,
        epochs=settings.epochs,
        shuffle=False,
        validation_data=Batches(validation, _evaluated_at_once(model, settings.batch_size)),
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_begin=begin_epoch, on_epoch_end=end_epoch)
        ],
        verbose=0,
    )
    last = record["epochs"][-1]["epoch"]
    if record["status"] == "finished" and last < settings.epochs:
        raise RuntimeError(
            f"training must run for {settings.epochs} epochs, and ended after {last}; the model "
            "must not set `stop_training`, and `keras.config.max_epochs()` must not be less"
        )


def _order(training: Split, epoch: int, seed: int) -> Array:
    """Draw the order of the indices of the examples in `epoch`."""
    generator = np.random.default_rng(derived_seed(seed, epoch))
    return generator.permutation(number_of_examples(training))


class Batches(KerasDataset):
    """Batches of the examples in `order`.

    How the backends shuffle does not depend on the seed alone.
    """

    def __init__(self, part: Split, batch_size: int) -> None:
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
