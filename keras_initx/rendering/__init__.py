"""Output formats for results: tables, HTML pages, JSON and CSV, figures, progress bars."""
