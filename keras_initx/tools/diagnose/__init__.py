"""Find why a network does not learn: run a batch, measure layers, report problems and remedies.

Read `_diagnose.py` first, then `_diagnosis.py` (probes and facts), `_measured_layers.py` (the data
for rules) and `_rules.py` (the results of rules). Each problem is a file of `verdicts/`.
Measurements that several verdicts need are files here, `losses/` knows losses and outputs, and
`_remedies.py` has the proposals that several verdicts share.
"""

from keras_initx.tools.diagnose._diagnose import diagnose as diagnose
from keras_initx.tools.diagnose._monitor import SignalMonitor as SignalMonitor
