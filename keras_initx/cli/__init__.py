"""The command line, `python -m keras_initx`.

Read `_main.py` first: it reads the arguments with `_parser.py`, for which files must exist, imports
Keras, and runs a command, such as a function of `_models.py`. `_inputs.py` reads what commands are
given.
"""
