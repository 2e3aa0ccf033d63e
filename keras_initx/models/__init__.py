"""Tools for whole models.

Initialize by rules from one seed, scale to a batch, load weights, renew a trained model.
"""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.models._dormant import *

# For the rooms above; not part of the public interface.
from keras_initx.models._initial_state import optimizers_of as optimizers_of
from keras_initx.models._initialize import *
from keras_initx.models._load_pretrained import *
from keras_initx.models._lora import *
from keras_initx.models._lsuv import *
from keras_initx.models._rules import matches_path as matches_path
from keras_initx.models._shrink_and_perturb import *
from keras_initx.models._weights import *
from keras_initx.structure import ModelWeight as ModelWeight
