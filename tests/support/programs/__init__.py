"""Faulty deep-learning programs that people asked about, each with its accepted repair.

They are ported from public benchmarks by their facts: the network, the loss, the optimizer, and the
shape and range of the data. The data is drawn at random, and large layers are narrower, so that all
programs together take less than a minute. Where the accepted repair leaves another fault in place,
the repaired form mends that one too.

`examination.py` diagnoses them.
"""

# Each of these files adds the programs with its kind of fault to the list.
from programs import activations, data, losses, one_unit, rates, silent, weights  # noqa: F401
from programs.program import PROGRAMS

__all__ = ["PROGRAMS"]
