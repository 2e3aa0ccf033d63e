"""What users call, one folder for each task, named as the function that does it.

No tool is imported below: not by the core, `inspection`, `recipes` or `scaling`. Which tool may
import which is a table in `tests/behavior/test_imports.py`. The folders are private, because a
module `audit` cannot be called: the package has the functions, and `types` their results.
"""
