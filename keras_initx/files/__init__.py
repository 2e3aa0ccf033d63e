"""Arrays of a file and in memory, read when they are needed; files that are written whole.

Read `_lazy.py` first (an array of which a region is read), then `_formats.py` (the formats).
`_resizing.py` changes the length of an axis. `_local.py` writes a file whole or not at all. Several
files that hold one model are `checkpoints`.
"""
