"""Audits: whether weights are distributed as a recipe, rules, their layers or other weights say."""

from keras_initx.audits._audit import audit as audit
from keras_initx.audits._audit_report import AuditReport as AuditReport
from keras_initx.audits._contract import Contract as Contract
from keras_initx.audits._contract import contract as contract
from keras_initx.audits._contract_lines import WeightContract as WeightContract
from keras_initx.audits._groups import WeightAudit as WeightAudit
