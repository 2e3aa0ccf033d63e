"""Whether weights are distributed as a recipe, rules, their layers or other weights say.

Read `_audit.py` first: `audit` collects what there is (`_subjects.py`) and what should be
(`_expected.py`, `_contract.py`), and compares both. `_kinds.py` lists the tests of values, one file
for each topic, `_judgement.py` decides for all weights at once, and `_rows.py` makes the report.
"""

from keras_initx.tools.audit._audit import audit as audit
from keras_initx.tools.audit._contract import contract as contract
