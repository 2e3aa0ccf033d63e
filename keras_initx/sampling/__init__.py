"""Random numbers from a key, the same on every backend. Independent of layers."""

from keras_initx.sampling._conversion import CELLS as CELLS
from keras_initx.sampling._conversion import LEAST as LEAST
from keras_initx.sampling._conversion import MOST as MOST
from keras_initx.sampling._conversion import NORMAL_REACH as NORMAL_REACH
from keras_initx.sampling._conversion import Affine as Affine
from keras_initx.sampling._conversion import Bounds as Bounds
from keras_initx.sampling._conversion import Quantiles as Quantiles
from keras_initx.sampling._conversion import affine as affine
from keras_initx.sampling._conversion import portable_exp as portable_exp
from keras_initx.sampling._conversion import portable_log as portable_log
from keras_initx.sampling._conversion import truncated_quantiles as truncated_quantiles
from keras_initx.sampling._namespace import HOST as HOST  # for the rooms above
from keras_initx.sampling._namespace import Namespace as Namespace
from keras_initx.sampling._namespace import choose_namespace as choose_namespace
from keras_initx.sampling._namespace import namespace_of as namespace_of
from keras_initx.sampling._orthonormal_frames import gaussian_frame as gaussian_frame
from keras_initx.sampling._orthonormal_frames import householder_frame as householder_frame
from keras_initx.sampling._orthonormal_frames import qr_frame as qr_frame
from keras_initx.sampling._orthonormal_frames import svd_frame as svd_frame
from keras_initx.sampling._stream import Draw as Draw
from keras_initx.sampling._stream import Stream as Stream
from keras_initx.sampling._stream import computing_dtype as computing_dtype
from keras_initx.sampling._subsets import sparse_normal as sparse_normal
