"""The command line, `python -m keras_initx`: a file for each command, and what only commands use.

A command is a module with `add_to(commands)`, which adds its parser. Arguments are read before Keras is imported, so
what needs Keras is imported by the functions that run.
"""
