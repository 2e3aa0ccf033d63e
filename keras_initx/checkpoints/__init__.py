"""Weights of files, models and dicts, and the names that Keras gives them there."""
