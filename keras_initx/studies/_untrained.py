"""The models that `build` returns, before they are trained."""

import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_initx.studies._folder import Folder, Trial
from keras_initx.studies._metric import BuildError, check_metrics, directions
from keras_initx.studies._plan import Run
from keras_initx.studies._training import as_number, evaluate
from keras_initx.studies._types import Model, Record

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
