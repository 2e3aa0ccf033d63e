"""Signal propagation: run a batch through a model, measure each layer, and report problems."""

from keras_initx.diagnostics._diagnose import diagnose as diagnose
from keras_initx.diagnostics._layer_report import GradientReport as GradientReport
from keras_initx.diagnostics._layer_report import LayerReport as LayerReport
from keras_initx.diagnostics._layer_report import WeightReport as WeightReport
from keras_initx.diagnostics._monitor import SignalMonitor as SignalMonitor
from keras_initx.diagnostics._remedy import Remedy as Remedy
from keras_initx.diagnostics._report import DiagnosisReport as DiagnosisReport
from keras_initx.diagnostics._rules import Verdict as Verdict
from keras_initx.diagnostics._signal import Signal as Signal
