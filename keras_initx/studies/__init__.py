"""Studies: compare initializers or learning rates over repeated trials, and random draws."""

from keras_initx.studies._compare_initializers import compare_initializers as compare_initializers
from keras_initx.studies._folder import SettingsError as SettingsError
from keras_initx.studies._rates import RateStudy as RateStudy
from keras_initx.studies._rates import compare_learning_rates as compare_learning_rates
from keras_initx.studies._restarts import RestartStudy as RestartStudy
from keras_initx.studies._restarts import random_restarts as random_restarts
from keras_initx.studies._study import Study as Study
