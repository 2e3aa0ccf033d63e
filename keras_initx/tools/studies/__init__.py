"""Repeated trainings: compare initializers over trials, and random draws.

Read `_compare_initializers.py` first, then `_engine.py` (how trials run) and `_folder.py` (their
records on disk).
"""

from keras_initx.tools.studies._compare_initializers import (
    compare_initializers as compare_initializers,
)
from keras_initx.tools.studies._restarts import random_restarts as random_restarts
