"""The command line, `python -m keras_initx`.

`_main` reads the arguments with `_parser`, checks what needs no Keras with `_checks`, imports
Keras, and runs a command: a function of `_catalog`, `_models`, `_demo` or `_studies`.
"""

from keras_initx.cli._main import main as main
