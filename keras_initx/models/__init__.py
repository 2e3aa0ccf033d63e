"""Initialize whole models: rules over their weights, and seeds that follow from where a weight is."""

from keras_initx.models._digest import weights_digest
from keras_initx.models._initialize import initialize
from keras_initx.models._plan import InitializationPlan, WeightPlan
from keras_initx.models._seeds import seeds
from keras_initx.models._weights import ModelWeight

__all__ = [
    "InitializationPlan",
    "ModelWeight",
    "WeightPlan",
    "initialize",
    "seeds",
    "weights_digest",
]
