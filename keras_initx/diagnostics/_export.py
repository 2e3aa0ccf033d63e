"""Export a report as a dict and as CSV."""

import dataclasses
from typing import TYPE_CHECKING, Any

from keras_initx.diagnostics._measurements import LayerReport
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._verdicts import LEVELS, named_in
from keras_initx.rendering._export import as_csv, finite

if TYPE_CHECKING:
    from keras_initx.diagnostics._report import Report

_STATISTICS = ("size", "mean", "std", "min", "max", "zeros", "nonfinite")
# The nested dicts of a layer become separate columns.
_COLUMNS = {**dict.fromkeys(("first_inputs", "before", "after"), _STATISTICS), "gate_bias": ("gate", "min", "max")}


def as_dict(report: "Report") -> dict[str, Any]:
    """Return a report as JSON types, without values of single units, and with `None` for infinities and NaN."""
    levels = {level: named_in(one for one in report.verdicts if one.level == level) for level in LEVELS}
    content: dict[str, Any] = finite(
        {
            "ok": report.ok,
            "verdicts": [dataclasses.asdict(verdict) for verdict in report.verdicts],
            "inputs": _signal(report.inputs),
            "layers": [
                # The most serious level of the verdicts on this layer.
                _layer(layer, next((level for level, names in levels.items() if layer.name in names), None))
                for layer in report.layers
            ],
        }
    )
    return content


def _layer(layer: LayerReport, level: str | None) -> dict[str, Any]:
    gate, bias = layer.gate_bias or (None, None)
    return {
        "name": layer.name,
        "level": level,
        "kind": layer.kind,
        "activation": layer.activation,
        "shape": layer.shape,
        "first_inputs": _signal(layer.first_inputs),
        "before": _signal(layer.before),
        "after": _signal(layer.after),
        "saturated": layer.saturated,
        "dead": layer.dead,
        "certain": layer.certain,
        "normalized_by": layer.normalized_by,
        "loses_signal": layer.loses_signal,
        "is_starved": layer.is_starved,
        "is_output": layer.is_output,
        "gain": layer.gain,
        "gradient_norm": layer.gradient_norm,
        "gradient_ratio": layer.gradient_ratio,
        "gate_bias": bias if bias is None else {"gate": gate, "min": float(bias.min()), "max": float(bias.max())},
        "weights": [dataclasses.asdict(weight) for weight in layer.weights],
    }


def _signal(signal: Signal | None) -> dict[str, Any] | None:
    if signal is None:
        return None
    histogram = {"edges": signal.edges.tolist(), "counts": signal.counts.tolist()}
    return {**{name: getattr(signal, name) for name in _STATISTICS}, "histogram": histogram}


def csv_of_layers(report: "Report") -> str:
    """Return a table with a row for each layer."""
    return as_csv(map(_row, as_dict(report)["layers"]))


def _row(layer: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in layer.items():
        if name in _COLUMNS:
            row |= {f"{name}_{part}": (value or {}).get(part) for part in _COLUMNS[name]}
        elif name == "shape":
            row[name] = "x".join(map(str, value or ()))
        elif name != "weights":
            row[name] = value
    return row
