"""Diagnose the initial weights of a trial on its first training batch."""

import dataclasses
from typing import Any

import keras

from keras_initx.diagnostics import diagnose
from keras_initx.initializers._seeding import derived_seed
from keras_initx.studies._training import first_batch
from keras_initx.studies._types import Arrays, Model, Record


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
