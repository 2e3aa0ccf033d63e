"""Output formats for results: tables, HTML pages, JSON and CSV, figures, progress bars."""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.rendering._export import *
from keras_initx.rendering._figures import *
from keras_initx.rendering._order import *
from keras_initx.rendering._results import *
from keras_initx.rendering._table import *
from keras_initx.rendering._terminal import *
from keras_initx.rendering._text import *
