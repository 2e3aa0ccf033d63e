"""Weights of files, models and dicts, and the names that Keras gives them there.

Read `_sources.py` first: whatever a user loads from becomes arrays by name. `_keras_names.py` pairs
these names with the weights of a model.
"""
