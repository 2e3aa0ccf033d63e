"""Each file of the package has a test by its name in the same room, or a row that says where it is tested."""

from pathlib import Path

from diagnosed import FAULTY

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "keras_initx"

# Files without behaviour of their own, and those of which a test of another name says more.
TESTED_THROUGH = {
    "_checks.py": "test_contract.py",
    "_typing.py": "initializers/test_activations.py",
    "audits/_bounds.py": "audits/test_properties.py",
    "audits/_comparison.py": "audits/test_judgement.py",
    "audits/_distribution.py": "audits/test_properties.py",
    "audits/_equal_values.py": "audits/test_properties.py",
    "audits/_frames.py": "audits/test_properties.py",
    "audits/_kinds.py": "audits/test_properties.py",
    "audits/_likeness.py": "audits/test_contract.py",
    "audits/_measured.py": "audits/test_profile.py",
    "audits/_outcome.py": "audits/test_properties.py",
    "audits/_outliers.py": "audits/test_properties.py",
    "audits/_precision.py": "audits/test_properties.py",
    "audits/_property_test.py": "audits/test_properties.py",
    "audits/_reading.py": "audits/test_profile.py",
    "audits/_scale_error.py": "audits/test_causes.py",
    "audits/_zeros.py": "audits/test_properties.py",
    "backends/_current.py": "test_startup.py",
    "cli/_models.py": "cli/test_diagnose_command.py",
    "diagnostics/_attention.py": "diagnostics/verdicts/test_focused_attention.py",
    "diagnostics/_single_values.py": "diagnostics/verdicts/test_no_gradient.py",
    "diagnostics/_gradient_flow.py": "diagnostics/test_undefined_places.py",
    "diagnostics/remedies/large_outputs.py": "diagnostics/verdicts/test_saturated.py",
    "diagnostics/remedies/other_ends.py": "diagnostics/verdicts/test_unsuitable_labels.py",
    "diagnostics/losses/reach.py": "diagnostics/verdicts/test_unreachable_targets.py",
    "diagnostics/_lost_weights.py": "diagnostics/verdicts/test_not_finite.py",
    "diagnostics/_recurrence.py": "diagnostics/verdicts/test_memory.py",
    "diagnostics/_steps.py": "diagnostics/verdicts/test_diverging_steps.py",
    "diagnostics/losses/labels.py": "diagnostics/verdicts/test_unsuitable_labels.py",
    "diagnostics/remedies/recurrence.py": "diagnostics/verdicts/test_memory.py",
    "initializers/_initializer.py": "test_contract.py",
    "initializers/_gates.py": "initializers/test_recurrent.py",
    "initializers/_sharding.py": "test_large_variables.py",
    "models/_lsuv_report.py": "models/test_lsuv.py",
    "outputs/_compared_call.py": "outputs/test_compare.py",
    "outputs/_first_difference.py": "outputs/test_torch_calls.py",
    "outputs/_outputs_report.py": "outputs/test_compare.py",
    "outputs/_reading.py": "outputs/test_keras_calls.py",
    "outputs/_recorded.py": "outputs/test_keras_calls.py",
    "outputs/_recorded_outputs.py": "outputs/test_keras_calls.py",
    "outputs/_recorded_step.py": "outputs/test_step_file.py",
    "outputs/_step_report.py": "outputs/test_compared_step.py",
    "pretrained/_load_report.py": "pretrained/test_load_pretrained.py",
    "pretrained/_moved_axes.py": "pretrained/test_row_orders.py",
    "recipes/_features.py": "recipes/test_roles.py",
    "recipes/_layer_recipe.py": "recipes/test_frameworks.py",
    "recipes/_parts.py": "recipes/test_roles.py",
    "recipes/_transformers.py": "recipes/test_recipe.py",
    "rendering/_table.py": "test_tables.py",
    "sampling/_triton.py": "backends/test_place.py",
    "scaling/_steps_by_factor.py": "scaling/test_rate_factors.py",
    "studies/_engine.py": "studies/test_kept_programs.py",
    "studies/_plots.py": "studies/test_study.py",
    "studies/_result.py": "rendering/test_results.py",
    "studies/_settings.py": "studies/test_compare_initializers.py",
    "studies/_statistics.py": "studies/test_study.py",
    "studies/_trial.py": "studies/test_compare_initializers.py",
    "studies/_types.py": "studies/test_compare_initializers.py",
    "structure/_experts.py": "recipes/test_architectures.py",
    "structure/_operations.py": "structure/test_zeros.py",
    "structure/_streams.py": "recipes/test_architectures.py",
    "structure/_torch_modules.py": "diagnostics/verdicts/test_alike.py",
}


def path_by_name(file):
    """Return the test that a file of the package has by its name."""
    return TESTS / file.parent / f"test_{file.stem.removeprefix('_')}.py"


def without_test():
    """Return the files that have no test by their names."""
    files = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")}
    return {str(file) for file in files - {Path("_version.py")} if not path_by_name(file).exists()}


def test_each_file_has_a_test_by_its_name_or_a_row():
    # Verdicts have rows in the table of cases.
    problems = {problem for case in FAULTY.values() for problem in case.problems}
    cases = {f"diagnostics/verdicts/{problem.replace(' ', '_')}.py" for problem in problems}
    assert without_test() - cases == TESTED_THROUGH.keys()


def test_each_row_names_a_test():
    assert [test for test in TESTED_THROUGH.values() if not (TESTS / test).exists()] == []
