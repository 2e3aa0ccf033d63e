"""Save the weights of a model in the names, shapes and layout of a file that it may be loaded from.

Read `_save_pretrained.py` first, then `_new_arrays.py` (what stands in each array of the file) and
`_way_back.py` (where the values of a weight go, which the rules of `load_pretrained` tell).
"""

from keras_initx.tools.save_pretrained._save_pretrained import save_pretrained as save_pretrained
