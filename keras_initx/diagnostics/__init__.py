"""Signal propagation: run a batch through a model, measure each layer, and report problems."""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.diagnostics._diagnose import *

# For the rooms above; not part of the public interface.
from keras_initx.diagnostics._diagnose import diagnose_with as diagnose_with
from keras_initx.diagnostics._measure import *
from keras_initx.diagnostics._measure import GradientNorms as GradientNorms
from keras_initx.diagnostics._measure import gradient_norms_of as gradient_norms_of
from keras_initx.diagnostics._monitor import *
from keras_initx.diagnostics._recorder import Recorder as Recorder
from keras_initx.diagnostics._report import *
from keras_initx.diagnostics._signal import *
from keras_initx.diagnostics._signal import spread as spread
from keras_initx.diagnostics._verdicts import *
from keras_initx.diagnostics._weights import *
