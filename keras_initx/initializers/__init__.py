"""Weight initializers, one family per file, and the base classes to write one."""

# Read `_initializer.py` first, the base classes, then `_variance.py`, a family.

from keras_initx.initializers._biases import DecayRate as DecayRate
from keras_initx.initializers._biases import PriorBias as PriorBias
from keras_initx.initializers._biases import ReLUBias as ReLUBias
from keras_initx.initializers._biases import TimeStepBias as TimeStepBias
from keras_initx.initializers._composition import Concatenated as Concatenated
from keras_initx.initializers._composition import Scaled as Scaled
from keras_initx.initializers._convolution import ICNR as ICNR
from keras_initx.initializers._convolution import Bilinear as Bilinear
from keras_initx.initializers._convolution import DeltaOrthogonal as DeltaOrthogonal
from keras_initx.initializers._convolution import Dirac as Dirac
from keras_initx.initializers._initializer import CatalogEntry as CatalogEntry
from keras_initx.initializers._initializer import ConstantInitializer as ConstantInitializer
from keras_initx.initializers._initializer import Initializer as Initializer
from keras_initx.initializers._initializer import RandomInitializer as RandomInitializer
from keras_initx.initializers._initializer import catalog as catalog
from keras_initx.initializers._initializer import register as register
from keras_initx.initializers._laws import NormalLaw as NormalLaw
from keras_initx.initializers._laws import TruncatedLaw as TruncatedLaw
from keras_initx.initializers._laws import UniformLaw as UniformLaw
from keras_initx.initializers._orthogonal import Orthogonal as Orthogonal
from keras_initx.initializers._orthogonal import OrthogonalQR as OrthogonalQR
from keras_initx.initializers._pretrained import Pretrained as Pretrained
from keras_initx.initializers._random import RandomNormal as RandomNormal
from keras_initx.initializers._random import RandomUniform as RandomUniform
from keras_initx.initializers._random import SmallNormal as SmallNormal
from keras_initx.initializers._random import Triangular as Triangular
from keras_initx.initializers._random import TruncatedNormal as TruncatedNormal
from keras_initx.initializers._recurrent import ChronoBias as ChronoBias
from keras_initx.initializers._recurrent import GRUUpdateBias as GRUUpdateBias
from keras_initx.initializers._recurrent import LSTMForgetBias as LSTMForgetBias
from keras_initx.initializers._sparse import KeepSparse as KeepSparse
from keras_initx.initializers._sparse import Sparse as Sparse
from keras_initx.initializers._variance import Spectral as Spectral
from keras_initx.initializers._variance import VarianceScaling as VarianceScaling
from keras_initx.initializers._variance_named import FanInNormal as FanInNormal
from keras_initx.initializers._variance_named import GlorotNormal as GlorotNormal
from keras_initx.initializers._variance_named import GlorotUniform as GlorotUniform
from keras_initx.initializers._variance_named import HeNormal as HeNormal
from keras_initx.initializers._variance_named import HeUniform as HeUniform
from keras_initx.initializers._variance_named import LecunNormal as LecunNormal
from keras_initx.initializers._variance_named import LecunUniform as LecunUniform
