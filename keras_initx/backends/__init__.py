"""The differences between backends: one class for each, which implements `Backend`.

Read `_backend.py` first.

Keras chooses its backend at import, so there is a single object, `backend` of `_current.py`. A new
backend needs a module `_<name>.py` here, with a class `Implementation`, and its name in `BACKENDS`
of `_startup.py`.
"""
