"""Weight initializers, one family per file, and the base classes to write one."""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.initializers._activations import activation_facts as activation_facts
from keras_initx.initializers._base import *

# For the rooms above; not part of the public interface.
from keras_initx.initializers._base import are_equal as are_equal
from keras_initx.initializers._base import is_array as is_array
from keras_initx.initializers._base import keeps_call as keeps_call
from keras_initx.initializers._base import parameters_of as parameters_of
from keras_initx.initializers._biases import *
from keras_initx.initializers._composition import *
from keras_initx.initializers._composition import arguments_of as arguments_of
from keras_initx.initializers._composition import check_dtype_for as check_dtype_for
from keras_initx.initializers._composition import check_initializer as check_initializer
from keras_initx.initializers._composition import check_numbers as check_numbers
from keras_initx.initializers._composition import check_shape_for as check_shape_for
from keras_initx.initializers._composition import counterpart as counterpart
from keras_initx.initializers._composition import law_of as law_of
from keras_initx.initializers._composition import values_at as values_at
from keras_initx.initializers._convolution import *
from keras_initx.initializers._laws import *
from keras_initx.initializers._laws import CenterLaw as CenterLaw
from keras_initx.initializers._laws import FixedLaw as FixedLaw
from keras_initx.initializers._laws import FrameLaw as FrameLaw
from keras_initx.initializers._laws import IndependentLaw as IndependentLaw
from keras_initx.initializers._laws import Law as Law
from keras_initx.initializers._laws import SlicesLaw as SlicesLaw
from keras_initx.initializers._laws import SparseLaw as SparseLaw
from keras_initx.initializers._laws import TiledLaw as TiledLaw
from keras_initx.initializers._orthogonal import *
from keras_initx.initializers._pretrained import *
from keras_initx.initializers._random import *
from keras_initx.initializers._recurrent import *
from keras_initx.initializers._scale import AxesInitializer as AxesInitializer
from keras_initx.initializers._scale import MatrixInitializer as MatrixInitializer
from keras_initx.initializers._scale import default_axes as default_axes
from keras_initx.initializers._scale import fans as fans
from keras_initx.initializers._sharding import is_exact as is_exact
from keras_initx.initializers._sharding import seeded_call as seeded_call
from keras_initx.initializers._sharding import with_seed as with_seed
from keras_initx.initializers._sparse import *
from keras_initx.initializers._sparse import Masked as Masked
from keras_initx.initializers._sparse import kept_sparse as kept_sparse
from keras_initx.initializers._variance import *
from keras_initx.initializers._variance import Mode as Mode
from keras_initx.initializers._variance import stddev_for as stddev_for
from keras_initx.initializers._variance_named import *
