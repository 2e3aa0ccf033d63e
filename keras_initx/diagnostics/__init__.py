"""Signal propagation: measure what initial weights do to a batch, judge it, and show it."""

from keras_initx.diagnostics._diagnose import diagnose
from keras_initx.diagnostics._monitor import SignalMonitor
from keras_initx.diagnostics._report import LayerReport, Report
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._verdicts import Thresholds, Verdict
from keras_initx.diagnostics._weights import WeightReport

__all__ = ["LayerReport", "Report", "Signal", "SignalMonitor", "Thresholds", "Verdict", "WeightReport", "diagnose"]
