"""Studies: compare initializers over repeated trials with error bars, and train from several random draws."""

from keras_initx.studies._engine import compare_initializers, random_restarts
from keras_initx.studies._records import DamagedFileError, RecordError, SettingsError, Trial
from keras_initx.studies._restart_study import RestartStudy
from keras_initx.studies._study import Study

__all__ = [
    "DamagedFileError",
    "RecordError",
    "RestartStudy",
    "SettingsError",
    "Study",
    "Trial",
    "compare_initializers",
    "random_restarts",
]
