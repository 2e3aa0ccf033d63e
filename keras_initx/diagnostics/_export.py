"""A report for other programs: as a dict, as JSON, as CSV."""

import csv
import dataclasses
import io
import math

from keras_initx.diagnostics._verdicts import LEVELS

# What a table for other programs has of each signal.
_STATISTICS = ("mean", "std", "low", "high", "zeros", "nonfinite")


def as_dict(report) -> dict:
    """Return everything of a report, but for the values of single units, as what JSON has; no number for infinity."""
    return _plain(
        {
            "ok": report.ok,
            "verdicts": [dataclasses.asdict(verdict) for verdict in report.verdicts],
            "inputs": _signal(report.inputs),
            "layers": [_layer(layer, report.verdicts) for layer in report.layers],
        }
    )


def _layer(layer, verdicts):
    gate, bias = layer.gate_bias or (None, None)
    levels = {verdict.level for verdict in verdicts if layer.name in verdict.layers}
    return {
        "name": layer.name,
        # The most serious of the verdicts that name it.
        "level": next((level for level in LEVELS if level in levels), None),
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
        "gate_bias": bias if bias is None else {"gate": gate, "low": float(bias.min()), "high": float(bias.max())},
        "weights": [dataclasses.asdict(weight) for weight in layer.weights],
    }


def _signal(signal):
    if signal is None:
        return None
    histogram = {"edges": signal.edges.tolist(), "counts": signal.counts.tolist()}
    return {"size": signal.size, **{name: getattr(signal, name) for name in _STATISTICS}, "histogram": histogram}


def _plain(value):
    """Return `value` with lists for tuples and `None` for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(report) -> str:
    """Return a table with a row for each layer."""
    rows = [_row(layer) for layer in as_dict(report)["layers"]]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _row(layer):
    row = {name: layer[name] for name in ("name", "level", "kind", "activation")}
    row["shape"] = "x".join(map(str, layer["shape"] or ()))
    for place in ("before", "after"):
        signal = layer[place] or {}
        row |= {f"{place}_{name}": signal.get(name) for name in _STATISTICS}
    row |= {name: layer[name] for name in ("saturated", "dead", "gain", "gradient_norm", "gradient_ratio")}
    gate = layer["gate_bias"] or {}
    return row | {f"gate_bias_{name}": gate.get(name) for name in ("low", "high")}
