"""The outputs of layers, recorded and compared with those of another model."""

from keras_initx.outputs._compare import compare_outputs as compare_outputs
from keras_initx.outputs._compare import record_outputs as record_outputs
from keras_initx.outputs._outputs_report import OutputRow as OutputRow
from keras_initx.outputs._outputs_report import OutputsReport as OutputsReport
from keras_initx.outputs._outputs_report import Stretch as Stretch
from keras_initx.outputs._recorded_outputs import RecordedOutput as RecordedOutput
from keras_initx.outputs._recorded_outputs import RecordedOutputs as RecordedOutputs
