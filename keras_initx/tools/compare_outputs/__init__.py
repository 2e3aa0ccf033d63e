"""The outputs of layers, and the first step of training, compared with another model's.

Read `_compare.py` first: what `record_outputs` and `compare_outputs` do, step by step.
`_counterparts.py` says which calls are compared, `_tolerance.py` how far two tensors may be apart,
`_first_step.py` measures a step that changes nothing, `_compared_step.py` compares two of them.
`_module_step.py` measures that of a module of torch, `_mapped_step.py` says of which weights it is,
`_known_causes.py` what torch does otherwise.
"""

from keras_initx.tools.compare_outputs._compare import compare_outputs as compare_outputs
from keras_initx.tools.compare_outputs._compare import record_outputs as record_outputs
