"""Compare weights with a recipe, rules, a plan, their layers, a contract or other weights.

Read `_audit.py` first. On the way of an audit:

    _subjects.py                     what is audited: weights of a model, or arrays by name
    _rule_expectations.py            what rules, plans and layers expect of each weight
    _initializer_expectations.py     what an initializer says of values: a law, or draws
    _contract.py, _contract_lines.py what draws of other weights say, in memory and in a file
    _profile.py, _draws.py           what is known of values, and of several draws together
    _facts.py                        how each fact is measured, merged, compared and written
    _compare_profiles.py             the tests of values, of which each topic has a file
    _judgement.py                    which tests fail, decided for all weights at once
    _rows.py, _audit_report.py       what explains a failure, and the report
"""

from keras_initx.tools.audit._audit import audit as audit
from keras_initx.tools.audit._contract import contract as contract
