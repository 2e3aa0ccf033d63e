"""Tools for whole models: initialize by rules from one seed, scale to a batch, digests."""

# What `docs/api/models.md` does not list is for the rooms above.
from keras_initx.models._assign import assign as assign
from keras_initx.models._assign import refresh_normalizations as refresh_normalizations
from keras_initx.models._assign import undone_after_error as undone_after_error
from keras_initx.models._bound import description as description
from keras_initx.models._bound import with_seed_and_axes as with_seed_and_axes
from keras_initx.models._changes import Change as Change
from keras_initx.models._changes import Changes as Changes
from keras_initx.models._digest import array_digest as array_digest
from keras_initx.models._digest import seeds as seeds
from keras_initx.models._digest import weights_digest as weights_digest
from keras_initx.models._given import RulesOrPlan as RulesOrPlan
from keras_initx.models._given import plan_of as plan_of
from keras_initx.models._initialize import Step as Step
from keras_initx.models._initialize import begun as begun
from keras_initx.models._initialize import draw as draw
from keras_initx.models._initialize import initialize as initialize
from keras_initx.models._lsuv import lsuv as lsuv
from keras_initx.models._paths import shown_paths as shown_paths
from keras_initx.models._plan import InitializationPlan as InitializationPlan
from keras_initx.models._plan import WeightPlan as WeightPlan
from keras_initx.models._plan_file import is_plan as is_plan
from keras_initx.models._reset import new_state as new_state
from keras_initx.models._reset import optimizers_of as optimizers_of
from keras_initx.models._reset import states_of as states_of
from keras_initx.structure import ModelWeight as ModelWeight
