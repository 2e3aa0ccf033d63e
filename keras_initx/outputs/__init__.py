"""The outputs of layers, and the first step of training, compared with another model's."""

from keras_initx.outputs._compare import compare_outputs as compare_outputs
from keras_initx.outputs._compare import record_outputs as record_outputs
from keras_initx.outputs._outputs_report import OutputRow as OutputRow
from keras_initx.outputs._outputs_report import OutputsReport as OutputsReport
from keras_initx.outputs._outputs_report import Stretch as Stretch
from keras_initx.outputs._recorded_outputs import RecordedOutput as RecordedOutput
from keras_initx.outputs._recorded_outputs import RecordedOutputs as RecordedOutputs
from keras_initx.outputs._recorded_step import RecordedStep as RecordedStep
from keras_initx.outputs._step_report import StepChange as StepChange
from keras_initx.outputs._step_report import StepLoss as StepLoss
from keras_initx.outputs._step_report import StepReport as StepReport
from keras_initx.outputs._step_report import StepRow as StepRow
