"""Load weights of files, models and state dicts, and see which weights loading never writes."""

from keras_initx.arrays._other_shapes import Channels as Channels
from keras_initx.arrays._other_shapes import Grid as Grid
from keras_initx.arrays._other_shapes import Rows as Rows
from keras_initx.arrays._other_shapes import Units as Units

# `as_lazy`, `checked_arrays` and `ties_of` are for the rooms above.
from keras_initx.pretrained._load_pretrained import load_pretrained as load_pretrained
from keras_initx.pretrained._loading import Loaded as Loaded
from keras_initx.pretrained._loading import loading as loading
from keras_initx.pretrained._sources import as_lazy as as_lazy
from keras_initx.pretrained._sources import checked_arrays as checked_arrays
from keras_initx.pretrained._sources import ties_of as ties_of
