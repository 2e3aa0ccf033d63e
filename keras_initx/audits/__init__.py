"""Audits: whether weights are distributed as a recipe, rules, their layers or other weights say."""

# ruff: noqa: F403, each name is listed in `__all__` of its file

from keras_initx.audits._asked import Like as Like
from keras_initx.audits._audit import *
from keras_initx.audits._contract import *
from keras_initx.audits._contract import is_contract as is_contract
from keras_initx.audits._groups import *
from keras_initx.audits._profile import *
from keras_initx.audits._report import *
from keras_initx.audits._subjects import Audited as Audited
from keras_initx.audits._subjects import is_saved_model as is_saved_model
