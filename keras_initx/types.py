"""Classes of results and arguments: objects that tools return, and some that you pass to them."""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

# Each is imported on first use, with the tool that it belongs to.
if _TYPE_CHECKING:
    from keras_initx.files._resizing import Channels as Channels
    from keras_initx.files._resizing import Grid as Grid
    from keras_initx.files._resizing import Rows as Rows
    from keras_initx.files._resizing import Units as Units
    from keras_initx.inspection._environment import Environment as Environment
    from keras_initx.inspection._weights import ModelWeight as ModelWeight
    from keras_initx.tools.audit._audit_report import AuditReport as AuditReport
    from keras_initx.tools.audit._audit_report import WeightAudit as WeightAudit
    from keras_initx.tools.audit._contract import Contract as Contract
    from keras_initx.tools.audit._contract_lines import WeightContract as WeightContract
    from keras_initx.tools.compare_outputs._outputs_report import OutputRow as OutputRow
    from keras_initx.tools.compare_outputs._outputs_report import OutputsReport as OutputsReport
    from keras_initx.tools.compare_outputs._outputs_report import Stretch as Stretch
    from keras_initx.tools.compare_outputs._recorded_outputs import RecordedOutput as RecordedOutput
    from keras_initx.tools.compare_outputs._recorded_outputs import (
        RecordedOutputs as RecordedOutputs,
    )
    from keras_initx.tools.compare_outputs._recorded_step import RecordedStep as RecordedStep
    from keras_initx.tools.compare_outputs._setting_differences import (
        SettingDifference as SettingDifference,
    )
    from keras_initx.tools.compare_outputs._step_report import StepChange as StepChange
    from keras_initx.tools.compare_outputs._step_report import StepLoss as StepLoss
    from keras_initx.tools.compare_outputs._step_report import StepReport as StepReport
    from keras_initx.tools.compare_outputs._step_report import StepRow as StepRow
    from keras_initx.tools.diagnose._layer_report import GradientReport as GradientReport
    from keras_initx.tools.diagnose._layer_report import LayerReport as LayerReport
    from keras_initx.tools.diagnose._layer_report import WeightReport as WeightReport
    from keras_initx.tools.diagnose._remedy import Remedy as Remedy
    from keras_initx.tools.diagnose._report import DiagnosisReport as DiagnosisReport
    from keras_initx.tools.diagnose._rules import Verdict as Verdict
    from keras_initx.tools.diagnose._signal import Signal as Signal
    from keras_initx.tools.initialize._lsuv_report import LsuvReport as LsuvReport
    from keras_initx.tools.initialize._lsuv_report import ScaledLayer as ScaledLayer
    from keras_initx.tools.initialize._plan import InitializationPlan as InitializationPlan
    from keras_initx.tools.initialize._planned_weight import WeightPlan as WeightPlan
    from keras_initx.tools.load_pretrained._load_report import LoadedWeight as LoadedWeight
    from keras_initx.tools.load_pretrained._load_report import LoadReport as LoadReport
    from keras_initx.tools.loading._loaded import Loaded as Loaded
    from keras_initx.tools.port_report._agreement import OutputAgreement as OutputAgreement
    from keras_initx.tools.port_report._ported_weights import ParameterCount as ParameterCount
    from keras_initx.tools.port_report._ported_weights import PortedWeight as PortedWeight
    from keras_initx.tools.port_report._ported_weights import PortedWeights as PortedWeights
    from keras_initx.tools.port_report._report import PortCheck as PortCheck
    from keras_initx.tools.port_report._report import PortReport as PortReport
    from keras_initx.tools.port_report._report import PortSide as PortSide
    from keras_initx.tools.save_pretrained._save_report import SavedWeight as SavedWeight
    from keras_initx.tools.save_pretrained._save_report import SaveReport as SaveReport
    from keras_initx.tools.studies._folder import SettingsError as SettingsError
    from keras_initx.tools.studies._restarts import RestartStudy as RestartStudy
    from keras_initx.tools.studies._study import Study as Study

_NAMES: dict[str, tuple[str, ...]] = {
    "files._resizing": (
        "Channels",
        "Grid",
        "Rows",
        "Units",
    ),
    "inspection._environment": ("Environment",),
    "inspection._weights": ("ModelWeight",),
    "tools.audit._audit_report": (
        "AuditReport",
        "WeightAudit",
    ),
    "tools.audit._contract": ("Contract",),
    "tools.audit._contract_lines": ("WeightContract",),
    "tools.compare_outputs._outputs_report": (
        "OutputRow",
        "OutputsReport",
        "Stretch",
    ),
    "tools.compare_outputs._recorded_outputs": (
        "RecordedOutput",
        "RecordedOutputs",
    ),
    "tools.compare_outputs._recorded_step": ("RecordedStep",),
    "tools.compare_outputs._setting_differences": ("SettingDifference",),
    "tools.compare_outputs._step_report": (
        "StepChange",
        "StepLoss",
        "StepReport",
        "StepRow",
    ),
    "tools.diagnose._layer_report": (
        "GradientReport",
        "LayerReport",
        "WeightReport",
    ),
    "tools.diagnose._remedy": ("Remedy",),
    "tools.diagnose._report": ("DiagnosisReport",),
    "tools.diagnose._rules": ("Verdict",),
    "tools.diagnose._signal": ("Signal",),
    "tools.initialize._lsuv_report": (
        "LsuvReport",
        "ScaledLayer",
    ),
    "tools.initialize._plan": ("InitializationPlan",),
    "tools.initialize._planned_weight": ("WeightPlan",),
    "tools.load_pretrained._load_report": (
        "LoadReport",
        "LoadedWeight",
    ),
    "tools.loading._loaded": ("Loaded",),
    "tools.port_report._agreement": ("OutputAgreement",),
    "tools.port_report._ported_weights": (
        "ParameterCount",
        "PortedWeight",
        "PortedWeights",
    ),
    "tools.port_report._report": (
        "PortCheck",
        "PortReport",
        "PortSide",
    ),
    "tools.save_pretrained._save_report": (
        "SaveReport",
        "SavedWeight",
    ),
    "tools.studies._folder": ("SettingsError",),
    "tools.studies._restarts": ("RestartStudy",),
    "tools.studies._study": ("Study",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name in _MODULE_OF:
        return getattr(_importlib.import_module(f"keras_initx.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
