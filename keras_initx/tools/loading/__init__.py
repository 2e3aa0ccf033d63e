"""Find the weights that loading never writes, whatever loads them, and draw those.

Read `_loading.py` first, then `_marks.py` (how to see that nobody wrote a value) and
`_unwritten.py` (values for the rest).
"""

from keras_initx.tools.loading._loading import loading as loading
