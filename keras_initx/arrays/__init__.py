"""Arrays of files and in memory, of which a region is read when it is needed.

For the rooms above; not part of the public interface.
"""

from keras_initx.arrays._casts import can_be_cast as can_be_cast
from keras_initx.arrays._casts import cast as cast
from keras_initx.arrays._checkpoints import Checkpoint as Checkpoint
from keras_initx.arrays._checkpoints import checkpoint_paths as checkpoint_paths
from keras_initx.arrays._checkpoints import names_weights as names_weights
from keras_initx.arrays._checkpoints import open_checkpoint as open_checkpoint
from keras_initx.arrays._formats import FORMATS as FORMATS
from keras_initx.arrays._formats import Contents as Contents
from keras_initx.arrays._formats import check_file as check_file
from keras_initx.arrays._formats import open_arrays as open_arrays
from keras_initx.arrays._formats import suffix as suffix
from keras_initx.arrays._lazy import LazyArray as LazyArray
from keras_initx.arrays._lazy import Selection as Selection
from keras_initx.arrays._lazy import index_text as index_text
from keras_initx.arrays._lazy import stacked as stacked
from keras_initx.arrays._lazy import summed as summed
