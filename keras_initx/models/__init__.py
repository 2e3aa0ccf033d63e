"""Initialize whole models: rules over their weights, seeds that follow from where a weight is, weights of others."""

from keras_initx.models._digest import weights_digest
from keras_initx.models._initialize import initialize
from keras_initx.models._loading_plan import LoadedWeight, LoadingPlan
from keras_initx.models._plan import InitializationPlan, WeightPlan
from keras_initx.models._pretrained import load_pretrained
from keras_initx.models._seeds import seeds
from keras_initx.models._weights import ModelWeight

__all__ = [
    "InitializationPlan",
    "LoadedWeight",
    "LoadingPlan",
    "ModelWeight",
    "WeightPlan",
    "initialize",
    "load_pretrained",
    "seeds",
    "weights_digest",
]
