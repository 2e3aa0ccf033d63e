"""The command line, `python -m keras_initx`: one module per command, and helpers for commands only.

A command is a module with a function `add_to(commands)`, which adds its parser. Arguments are
parsed before Keras is imported, so modules that need Keras are imported inside the functions that
run.
"""
