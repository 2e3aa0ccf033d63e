"""Audits: whether weights are distributed as a recipe, rules, their layers or other weights say."""

from keras_initx.audits._asked import Like as Like
from keras_initx.audits._audit import audit as audit
from keras_initx.audits._audit_report import AuditReport as AuditReport
from keras_initx.audits._contract import Contract as Contract
from keras_initx.audits._contract import contract as contract
from keras_initx.audits._contract import is_contract as is_contract
from keras_initx.audits._contract_lines import WeightContract as WeightContract
from keras_initx.audits._groups import WeightAudit as WeightAudit
from keras_initx.audits._parts import Parts as Parts
from keras_initx.audits._probabilities import holm as holm
from keras_initx.audits._profile import Profile as Profile
from keras_initx.audits._subjects import Audited as Audited
from keras_initx.audits._subjects import is_saved_model as is_saved_model
