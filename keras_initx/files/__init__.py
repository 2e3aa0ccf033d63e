"""Arrays in files and in memory, read when they are needed; files that are written as a whole.

Read `_lazy.py` first (an array that reads regions), then `_formats.py` (the formats).
`_resizing.py` changes the length of an axis. `_local.py` writes a file as a whole or not at all.
The folder `checkpoints` reads a model from several files.
"""
