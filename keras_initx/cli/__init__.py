"""The command line, `python -m keras_initx`.

Read `_main.py` first. It reads the arguments with `_parser.py`, which checks that files exist. Then
it imports Keras and runs a command, such as a function of `_models.py`. `_inputs.py` reads the
inputs of commands.
"""
