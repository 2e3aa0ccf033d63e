"""Tools for whole models: initialize by rules from one seed, scale layers to a batch, load pretrained weights."""

from keras_initx._seeds import seeds
from keras_initx.models._initialize import InitializationPlan, WeightPlan, initialize
from keras_initx.models._load_pretrained import LoadedWeight, LoadingPlan, load_pretrained
from keras_initx.models._lsuv import LSUVResult, LSUVRow, lsuv
from keras_initx.models._weights import ModelWeight, weights_digest

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
