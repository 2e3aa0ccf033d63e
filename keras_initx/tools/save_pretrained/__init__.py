"""Save the weights of a model in the names, shapes and layout of a file that it may be loaded from.

Read `_save_pretrained.py` first, then `_new_arrays.py` (the new values of each array of the file)
and `_way_back.py` (the place of each value of a weight, found by running the load).
"""

from keras_initx.tools.save_pretrained._save_pretrained import save_pretrained as save_pretrained
