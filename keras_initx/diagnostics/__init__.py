"""Signal propagation: run a batch through a model, measure each layer, and report problems with the weights."""

from keras_initx.diagnostics._diagnose import DiagnoseOptions, diagnose
from keras_initx.diagnostics._measure import LayerReport
from keras_initx.diagnostics._monitor import SignalMonitor
from keras_initx.diagnostics._report import Report
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import ThresholdOptions, Thresholds, Verdict
from keras_initx.diagnostics._weights import WeightReport

__all__ = [
    "DiagnoseOptions",
    "LayerReport",
    "Report",
    "Signal",
    "SignalMonitor",
    "ThresholdOptions",
    "Thresholds",
    "Verdict",
    "WeightReport",
    "diagnose",
]
