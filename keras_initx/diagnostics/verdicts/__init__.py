"""The verdicts of `diagnose`: in each file what is measured for them, bounds, rules and remedies.

All files are found here. A rule says itself when it is asked.
"""

import importlib
import pkgutil

from keras_initx.diagnostics._rules import RULES, arranged

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
RULES[:] = arranged(RULES)
