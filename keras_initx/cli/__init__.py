"""The command line, `python -m keras_initx`.

`_main` reads the arguments with `_parser`, for which files must exist, imports Keras, and runs a
command: a function of `_catalog` or `_models`, which checks names.
"""
