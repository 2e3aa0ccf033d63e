"""Random numbers from a key, the same on every backend.

You can use it without layers or initializers.
"""

# Read `_stream.py` first, then `_words.py` (random words) and `_conversion.py` (numbers of them).

from keras_initx.sampling._conversion import Quantiles as Quantiles
from keras_initx.sampling._conversion import affine as affine
from keras_initx.sampling._conversion import portable_log as portable_log
from keras_initx.sampling._stream import Stream as Stream
