"""A port of a module of torch: its weights, outputs and gradients in one report to paste.

Read `_port_report.py` first: it calls the tools that this report puts together. `_report.py` has
the contents of the report, `_ported_weights.py` compares weights, `_agreement.py` compares whole
outputs.
"""

from keras_initx.tools.port_report._port_report import port_report as port_report
