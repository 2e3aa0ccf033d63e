"""Tools for whole models: initialize by rules from one seed, scale to a batch, digests."""

from keras_initx.models._digest import weight_seed as weight_seed
from keras_initx.models._digest import weights_digest as weights_digest
from keras_initx.models._initialize import initialize as initialize
from keras_initx.models._lsuv import lsuv as lsuv
from keras_initx.models._lsuv_report import LsuvReport as LsuvReport
from keras_initx.models._lsuv_report import ScaledLayer as ScaledLayer
from keras_initx.models._plan import InitializationPlan as InitializationPlan
from keras_initx.models._planned_weight import WeightPlan as WeightPlan
from keras_initx.structure._weights import ModelWeight as ModelWeight
