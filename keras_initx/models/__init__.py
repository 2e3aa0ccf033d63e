"""Tools for whole models: initialize by rules from one seed, scale layers to a batch, load pretrained weights."""

from keras_initx.models._digest import weights_digest
from keras_initx.models._initialize import initialize
from keras_initx.models._loading_plan import LoadedWeight, LoadingPlan
from keras_initx.models._lsuv import lsuv
from keras_initx.models._lsuv_result import LSUVResult, LSUVRow
from keras_initx.models._plan import InitializationPlan, WeightPlan
from keras_initx.models._pretrained import load_pretrained
from keras_initx.models._seeds import seeds
from keras_initx.models._weights import ModelWeight

__all__ = [
    "InitializationPlan",
    "LSUVResult",
    "LSUVRow",
    "LoadedWeight",
    "LoadingPlan",
    "ModelWeight",
    "WeightPlan",
    "initialize",
    "load_pretrained",
    "lsuv",
    "seeds",
    "weights_digest",
]
