"""The command line, `python -m keras_initx`, and the data sets and networks that only its commands use."""
