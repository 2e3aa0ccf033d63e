"""Load weights of files, models and state dicts, and see which weights loading never writes."""

from keras_initx.arrays._other_shapes import Channels as Channels
from keras_initx.arrays._other_shapes import Grid as Grid
from keras_initx.arrays._other_shapes import Rows as Rows
from keras_initx.arrays._other_shapes import Units as Units
from keras_initx.pretrained._load_pretrained import load_pretrained as load_pretrained
from keras_initx.pretrained._load_report import LoadedWeight as LoadedWeight
from keras_initx.pretrained._load_report import LoadReport as LoadReport
from keras_initx.pretrained._loaded import Loaded as Loaded
from keras_initx.pretrained._loading import loading as loading
