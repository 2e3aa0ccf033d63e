"""Compare the outputs of layers, and the first step of training, with another model.

Read `_compare.py` first. It has the steps of `record_outputs` and `compare_outputs`.

Outputs: `_recorded.py` records calls, `_counterparts.py` decides which calls are compared,
`_tolerance.py` measures the difference of two tensors, `_flow.py` finds the calls that a call
depends on, `_reasons.py` finds masks and functions that differ.

Settings: `_settings_table.py` says what each argument of torch.nn and of Keras means.
`_components.py` reads a call in its words, `_setting_differences.py` compares two calls,
`_windows.py` the windows of convolutions and poolings, and `_setting_stretches.py` all calls of two
models.

The first step: `_first_step.py` takes it with a Keras model, `_module_step.py` with a module of
torch, whose arrays `_mapped_step.py` maps to weights. `_compared_step.py` compares two steps.
"""

from keras_initx.tools.compare_outputs._compare import compare_outputs as compare_outputs
from keras_initx.tools.compare_outputs._compare import record_outputs as record_outputs
