"""Whole models: draw them from one seed by rules, recipes or plans, scale them to a batch.

Read `_initialize.py` first, then `_rules.py` (the user's rules for each weight), `_binding.py`
(an initializer that is bound to a weight) and `_plan.py` (the result, which is saved and drawn).
"""

from keras_initx.tools.initialize._digest import weight_seed as weight_seed
from keras_initx.tools.initialize._digest import weights_digest as weights_digest
from keras_initx.tools.initialize._initialize import initialize as initialize
from keras_initx.tools.initialize._lsuv import lsuv as lsuv
