"""How results are shown: tables, pages, JSON and CSV, figures, progress. Each way is written here, once."""
