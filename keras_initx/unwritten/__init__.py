"""See which weights loading has never written, whatever has loaded them, and draw those."""

from keras_initx.unwritten._loaded import Loaded as Loaded
from keras_initx.unwritten._loading import loading as loading
