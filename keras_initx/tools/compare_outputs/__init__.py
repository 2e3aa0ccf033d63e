"""Compare the outputs of layers, and the first step of training, with those of another model.

Read `_compare.py` first: what `record_outputs` and `compare_outputs` do, step by step.

Outputs: `_recorded.py` records calls, `_counterparts.py` decides which calls are compared,
`_tolerance.py` measures how far two tensors are apart, `_flow.py` knows which call depends on
which, `_reasons.py` finds settings that differ.

The first step: `_first_step.py` takes it with a Keras model, `_module_step.py` with a module of
torch, whose arrays `_mapped_step.py` maps to weights. `_compared_step.py` compares two steps,
`_known_causes.py` finds what torch does differently.
"""

from keras_initx.tools.compare_outputs._compare import compare_outputs as compare_outputs
from keras_initx.tools.compare_outputs._compare import record_outputs as record_outputs
