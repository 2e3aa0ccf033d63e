"""Weights of files, models and dicts, and the names that Keras gives them there.

Read `_sources.py` first: it turns each source that a user loads from into arrays by name.
`_keras_names.py` pairs these names with the weights of a model.
"""
