"""Whole models: what sets the weights of all layers together, and keeps them as they were meant."""

from keras_initx.models._lsuv import lsuv
from keras_initx.models._lsuv_result import LSUVResult, LSUVRow

__all__ = ["LSUVResult", "LSUVRow", "lsuv"]
