"""What a Keras model is made of: its layers, its weights, its kernels, how to watch and feed it.

For the rooms above; not part of the public interface, except `ModelWeight`, which `models` offers.
"""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.structure._architecture import *
from keras_initx.structure._batch import *
from keras_initx.structure._build import *
from keras_initx.structure._finite import *
from keras_initx.structure._former import *
from keras_initx.structure._graph import *
from keras_initx.structure._hooks import *
from keras_initx.structure._kernels import *
from keras_initx.structure._layer_initializers import *
from keras_initx.structure._names import *
from keras_initx.structure._optimizers import *
from keras_initx.structure._patterns import *
from keras_initx.structure._rows import *
from keras_initx.structure._watch import *
from keras_initx.structure._weights import *
