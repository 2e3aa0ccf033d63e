"""Signal propagation: measure what initial weights do to a batch, and judge it."""

from keras_initx.diagnostics._diagnose import diagnose
from keras_initx.diagnostics._report import LayerReport, Report

__all__ = ["LayerReport", "Report", "diagnose"]
