"""Signal propagation: run a batch through a model, measure each layer, and report problems."""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.diagnostics._diagnose import *
from keras_initx.diagnostics._layers import *
from keras_initx.diagnostics._monitor import *
from keras_initx.diagnostics._remedy import *
from keras_initx.diagnostics._report import *
from keras_initx.diagnostics._rules import *
from keras_initx.diagnostics._signal import *

# For the rooms above; not part of the public interface.
from keras_initx.diagnostics._signal import spread as spread
