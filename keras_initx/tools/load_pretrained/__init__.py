"""Load weights of files, models and state dicts, by names, layouts and orders of rows.

Read `_load_pretrained.py` first, then `_load_plan.py` (what a load does with each weight), which
takes the array for a weight from `_array_names.py` and converts it by `_conversion.py`. Of that,
`_layouts.py` has the axes of torch's arrays, and `_differences.py` what else torch computes
differently: `_row_orders.py` finds rows and units before and after an image, from `_layout_walk.py`
and `_axis_orders.py`.
"""

from keras_initx.tools.load_pretrained._load_pretrained import load_pretrained as load_pretrained
