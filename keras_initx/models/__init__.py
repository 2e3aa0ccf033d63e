"""Tools for whole models.

Initialize by rules from one seed, scale to a batch, load weights.
"""

# ruff: noqa: F403, each name is listed in `__all__` of its file

# For the rooms above; not part of the public interface, as all that is imported by name.
from keras_initx.models._arrays import as_lazy as as_lazy
from keras_initx.models._arrays import checked_arrays as checked_arrays
from keras_initx.models._arrays import ties_of as ties_of
from keras_initx.models._bound import description as description
from keras_initx.models._bound import with_seed_and_axes as with_seed_and_axes
from keras_initx.models._changes import *
from keras_initx.models._given import RulesOrPlan as RulesOrPlan
from keras_initx.models._given import plan_of as plan_of
from keras_initx.models._initial_state import optimizers_of as optimizers_of
from keras_initx.models._initial_state import used_optimizers_of as used_optimizers_of
from keras_initx.models._initialize import *
from keras_initx.models._load_pretrained import *
from keras_initx.models._loading import *
from keras_initx.models._lsuv import *
from keras_initx.models._plan import *
from keras_initx.models._plan_file import is_plan as is_plan
from keras_initx.models._weights import *
from keras_initx.models._weights import array_digest as array_digest
from keras_initx.structure import ModelWeight as ModelWeight
