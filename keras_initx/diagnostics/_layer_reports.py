"""A `LayerReport` for each layer, from what has been recorded of it."""

from collections.abc import Mapping, Sequence

import keras

from keras_initx._typing import Array
from keras_initx.diagnostics._activations import activation_name
from keras_initx.diagnostics._gates import forget_bias_overwritten, gate_bias
from keras_initx.diagnostics._layers import parts_of
from keras_initx.diagnostics._measurements import LayerReport
from keras_initx.diagnostics._recorder import Record, Recorder
from keras_initx.diagnostics._weights import weight_reports


def layer_reports(recorder: Recorder, gradients: Mapping[int, Array]) -> list[LayerReport]:
    """Return a `LayerReport` for each layer that has been recorded or has weights that no other has.

    Args:
        recorder: What has been recorded.
        gradients: Dict from the identity of a weight to its gradient.
    """
    weights = _weights_of_layers(recorder)
    return [_report(recorder, layer, own, gradients) for layer, own in weights.items()]


def _weights_of_layers(recorder: Recorder) -> dict[keras.layers.Layer, list[keras.Variable]]:
    """Return the layers to report, in the order of their outputs, each with its weights: a weight has one layer."""
    records = recorder.records
    order = [layer for layer, record in records.items() if record.after]
    owners = {id(weight): layer for layer in reversed(recorder.names) for weight in recorder.own_weights[layer]}
    for layer in order:  # The weights of what could not be seen belong to the layer around it.
        if not any(part in records for part in parts_of(layer)):
            owners.update({id(weight): layer for weight in layer.weights})
    # Another layer may have used the weights, and the activation, of one that was not called itself.
    order += [layer for layer in recorder.names if layer not in order and layer in owners.values()]
    weights: dict[keras.layers.Layer, list[keras.Variable]] = {layer: [] for layer in order}
    for layer in recorder.names:
        for weight in layer.weights:
            owner = owners.pop(id(weight), None)
            if owner is not None:
                weights[owner].append(weight)
    return weights


def _report(
    recorder: Recorder, layer: keras.layers.Layer, weights: Sequence[keras.Variable], gradients: Mapping[int, Array]
) -> LayerReport:
    record = recorder.records.get(layer, Record())
    return LayerReport(
        name=recorder.names[layer],
        kind=type(layer).__name__,
        activation=activation_name(layer),
        shape=record.shape,
        before=record.before,
        after=record.after,
        weights=weight_reports(layer, weights, gradients),
        gate_bias=gate_bias(layer),
        forget_bias_overwritten=forget_bias_overwritten(layer),
        first_inputs=recorder.first_inputs.get(layer),
        normalized_by=recorder.names.get(recorder.flow.normalization_after(layer)),
        loses_signal=layer in recorder.suspects.losing,
        is_starved=layer in recorder.suspects.starved,
        is_output=record.is_output,
        certain=record.certain,
    )
