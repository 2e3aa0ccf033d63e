"""Studies: compare initializers with repeats and error bars, and restart from several draws."""

from keras_initx.studies._compare import compare
from keras_initx.studies._folder import SettingsError, Trial
from keras_initx.studies._log import DamagedFileError, RecordError
from keras_initx.studies._race import Race
from keras_initx.studies._restarts import restarts
from keras_initx.studies._study import Study

__all__ = ["DamagedFileError", "Race", "RecordError", "SettingsError", "Study", "Trial", "compare", "restarts"]
