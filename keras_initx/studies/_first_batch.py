"""What the initial weights of a trial do to the first batch that it trains on."""

import dataclasses

from keras_initx.diagnostics import diagnose
from keras_initx.studies._training import first_batch


def look(model, data, batch_size, seed):
    """Diagnose `model` with its first batch, and leave it as it was.

    Args:
        model: A compiled model that has not been trained.
        data: See `compare`.
        batch_size: See `compare`.
        seed: That of `train_epoch`.

    Returns:
        A dict of `"layers"`, with a few figures for each layer of the report, and `"verdicts"`; or of an
        `"error"` for a model that `diagnose` cannot look at, which may be trained nonetheless.
    """
    try:
        report = diagnose(model, *first_batch(data, batch_size, seed), batch_size=batch_size)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "layers": [_figures(layer) for layer in report.layers],
        "verdicts": [dataclasses.asdict(verdict) for verdict in report.verdicts],
    }


def _figures(layer):
    return {
        "layer": layer.name,
        "std": layer.after and layer.after.std,
        "saturated": layer.saturated,
        "dead": layer.dead,
        "gradient_norm": layer.gradient_norm,
    }
