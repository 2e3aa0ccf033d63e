"""Load weights of files, models and state dicts, by names, layouts and orders of rows."""

from keras_initx.arrays._other_shapes import Channels as Channels
from keras_initx.arrays._other_shapes import Grid as Grid
from keras_initx.arrays._other_shapes import Rows as Rows
from keras_initx.arrays._other_shapes import Units as Units
from keras_initx.pretrained._load_pretrained import load_pretrained as load_pretrained
from keras_initx.pretrained._load_report import LoadedWeight as LoadedWeight
from keras_initx.pretrained._load_report import LoadReport as LoadReport
