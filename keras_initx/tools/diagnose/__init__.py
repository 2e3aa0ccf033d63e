"""Why a network does not learn: run a batch, measure each layer, report problems and remedies.

Read `_diagnose.py` first, then `_diagnosis.py` (what was measured) and `_rules.py` (what a rule
yields). Each problem is a file of `verdicts/`, what several of them measure is a file here,
`losses/` is what is known of losses, `remedies/` what several verdicts propose.
"""

from keras_initx.tools.diagnose._diagnose import diagnose as diagnose
from keras_initx.tools.diagnose._monitor import SignalMonitor as SignalMonitor
