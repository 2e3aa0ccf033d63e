"""Build a `LayerReport` for each layer from its record."""

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
    """Return a `LayerReport` for each layer that has a record or weights of its own.

    Args:
        recorder: The recorder after the forward pass.
        gradients: Dict from the id of a weight to its gradient.
    """
    weights = _weights_of_layers(recorder)
    return [_report(recorder, layer, own, gradients) for layer, own in weights.items()]


def _weights_of_layers(recorder: Recorder) -> dict[keras.layers.Layer, list[keras.Variable]]:
    """Return the layers to report, in the order of their outputs, with their weights. Each weight has one layer."""
    records = recorder.records
    order = [layer for layer, record in records.items() if record.after]
    owners = {id(weight): layer for layer in reversed(recorder.names) for weight in recorder.own_weights[layer]}
    for layer in order:  # The weights of layers that could not be observed belong to the layer around them.
        if not any(part in records for part in parts_of(layer)):
            owners.update({id(weight): layer for weight in layer.weights})
    # A layer that was not called itself may have been used by another layer.
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
