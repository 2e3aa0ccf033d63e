"""Load weights of files, models and state dicts, by names, layouts and orders of rows.

Read `_load_pretrained.py` first, then `_array_names.py` (the array for each weight), `_layouts.py`
(the axes of torch's arrays) and `_row_orders.py` (rows and units before and after an image), which
needs `_axis_orders.py`.
"""

from keras_initx.tools.load_pretrained._load_pretrained import load_pretrained as load_pretrained
