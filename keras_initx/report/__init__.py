"""Output formats for results: tables, HTML pages, JSON and CSV, figures, progress bars.

Read `_results.py` first, the base class of all results, then `_table.py`.
"""
