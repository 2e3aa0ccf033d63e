"""Why a network does not learn: run a batch, measure each layer, report problems and remedies.

Read `_diagnose.py` first, then `_diagnosis.py` (probes and facts), `_measured_layers.py` (what
rules ask) and `_rules.py` (what a rule yields). Each problem is a file of `verdicts/`. Measurements
that several verdicts need are files here, `losses/` knows losses and outputs, and `remedies/` has
what several verdicts propose.
"""

from keras_initx.tools.diagnose._diagnose import diagnose as diagnose
from keras_initx.tools.diagnose._monitor import SignalMonitor as SignalMonitor
