"""A test is found by the name of what it tests, and each file of the package has a test by its name, or a row."""

import ast
import functools
import re
from pathlib import Path

import readme
from diagnosed import FAULTY

TESTS = Path(__file__).parents[1]
PACKAGE = TESTS.parent / "keras_initx"

# Folders of tests that are called for what they show: of the whole package, or of the folder that they stand in; of
# the pages; and those with a session of their own.
CALLED_FOR_BEHAVIOR = {"behavior", "pages", "browser", "device", "frameworks", "hosts", "hunt", "roundtrip"}
# Files without behavior of their own, and those of which a test of another name says more.
TESTED_THROUGH = {
    "_checks.py": "behavior/test_contract.py",
    "_typing.py": "initializers/test_activations.py",
    "tools/audit/_zeros.py": "tools/audit/behavior/test_properties.py",
    "tools/audit/_compare_profiles.py": "tools/audit/behavior/test_properties.py",
    "tools/audit/_property_test.py": "tools/audit/behavior/test_properties.py",
    "backends/_current.py": "test_startup.py",
    "inspection/_drawn_values.py": "tools/loading/test_draws.py",
    "cli/_inputs.py": "cli/behavior/test_diagnose_command.py",
    "cli/_models.py": "cli/behavior/test_diagnose_command.py",
    "tools/diagnose/_gradient_flow.py": "tools/diagnose/test_nan_origins.py",
    "tools/diagnose/_remedies.py": "tools/diagnose/behavior/test_remedies_of_signals.py",
    "tools/diagnose/losses/reach.py": "tools/diagnose/verdicts/test_unreachable_targets.py",
    "tools/diagnose/_lost_weights.py": "tools/diagnose/verdicts/test_not_finite.py",
    "tools/diagnose/_recurrence.py": "tools/diagnose/verdicts/test_memory.py",
    "tools/diagnose/losses/labels.py": "tools/diagnose/verdicts/test_unsuitable_labels.py",
    "initializers/_initializer.py": "behavior/test_contract.py",
    "initializers/_gates.py": "initializers/test_recurrent.py",
    "initializers/_sharding.py": "behavior/test_large_variables.py",
    "tools/compare_outputs/_compared_call.py": "tools/compare_outputs/test_compare.py",
    "tools/compare_outputs/_components.py": "tools/compare_outputs/test_setting_stretches.py",
    "tools/compare_outputs/_mapped_step.py": "tools/compare_outputs/test_module_step.py",
    "tools/compare_outputs/_outputs_report.py": "tools/compare_outputs/test_compare.py",
    "tools/compare_outputs/_reading.py": "tools/compare_outputs/test_recorded.py",
    "tools/compare_outputs/_recorded_outputs.py": "tools/compare_outputs/test_recorded.py",
    "tools/compare_outputs/_step_report.py": "tools/compare_outputs/test_compared_step.py",
    "tools/port_report/_agreement.py": "tools/port_report/test_port_report.py",
    "tools/port_report/_ported_weights.py": "tools/port_report/test_port_report.py",
    "tools/port_report/_report.py": "tools/port_report/test_port_report.py",
    "tools/load_pretrained/_layout_walk.py": "tools/load_pretrained/test_row_orders.py",
    "tools/load_pretrained/_load_plan.py": "tools/load_pretrained/test_load_pretrained.py",
    "tools/save_pretrained/_save_report.py": "tools/save_pretrained/test_save_pretrained.py",
    "tools/load_pretrained/_axis_orders.py": "tools/load_pretrained/test_row_orders.py",
    "recipes/_features.py": "recipes/test_roles.py",
    "recipes/_layer_recipe.py": "recipes/test_frameworks.py",
    "recipes/_parts.py": "recipes/test_roles.py",
    "recipes/_transformers.py": "recipes/test_recipe.py",
    "sampling/_triton.py": "backends/behavior/test_place.py",
    "tools/studies/_engine.py": "tools/studies/test_trial.py",
    "tools/studies/_plots.py": "tools/studies/test_study.py",
    "tools/studies/_result.py": "report/test_results.py",
    "tools/studies/_significance.py": "tools/studies/test_study.py",
    "tools/studies/_types.py": "tools/studies/test_compare_initializers.py",
    "inspection/_experts.py": "recipes/behavior/test_architectures.py",
    "inspection/_operations.py": "inspection/test_branch_zeros.py",
    "inspection/_streams.py": "recipes/behavior/test_architectures.py",
    "inspection/_torch_modules.py": "tools/diagnose/verdicts/test_alike.py",
    "inspection/_fused_kernels.py": "recipes/test_each_kernel.py",
    "inspection/_norm_scales.py": "recipes/behavior/test_closing.py",
    "types.py": "behavior/test_package.py",
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
    cases = {f"tools/diagnose/verdicts/{problem.replace(' ', '_')}.py" for problem in problems}
    assert without_test() - cases == TESTED_THROUGH.keys()


def test_each_row_names_a_test():
    assert [test for test in TESTED_THROUGH.values() if not (TESTS / test).exists()] == []


def test_the_table_of_what_tests_share_is_current():
    assert readme.README.read_text() == readme.make_table(), "run `python tests/support/readme.py`"


def test_each_module_that_tests_share_says_what_it_gives():
    assert [name for name, path in readme.list_modules().items() if not readme.read_first_sentence(path)] == []


@functools.cache
def list_public_names(folder):
    """Return the functions and classes in the files of a folder, as files are called: `KeepSparse` is `keep_sparse`."""
    names = set()
    for path in folder.glob("*.py"):
        for name in re.findall(r"^(?:def|class) ([A-Za-z]\w*)", path.read_text(), re.MULTILINE):
            names.add(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return names


def is_called_for_behavior(test):
    return not CALLED_FOR_BEHAVIOR.isdisjoint(test.relative_to(TESTS).parts[:-1])


def is_called_for_its_subject(test):
    """Return whether a test has the name of a file of the package in the same folder, or of what is defined there."""
    folder = PACKAGE / test.parent.relative_to(TESTS)
    name = test.stem.removeprefix("test_")
    files = {path.stem.removeprefix("_") for path in folder.glob("*.py")}
    return name in files | list_public_names(folder)


def list_tests():
    return sorted(TESTS.rglob("test_*.py"))


def test_a_test_has_the_name_of_what_it_tests_or_stands_among_those_called_for_behavior():
    tests = [test for test in list_tests() if not is_called_for_behavior(test)]
    misplaced = [str(test.relative_to(TESTS)) for test in tests if not is_called_for_its_subject(test)]
    assert misplaced == [], "give them the names of what they test, or move them into a folder `behavior`"


def test_a_test_that_is_called_for_behavior_says_in_its_first_line_what_it_shows():
    tests = [test for test in list_tests() if is_called_for_behavior(test)]
    assert [str(test.relative_to(TESTS)) for test in tests if not ast.get_docstring(ast.parse(test.read_text()))] == []


def test_what_one_test_uses_alone_is_in_its_file_or_stays_for_a_reason():
    alone = {name: path for name, path in readme.list_modules().items() if len(readme.find_users(name)) == 1}
    assert [name for name, path in alone.items() if not readme.find_reason(name, path)] == []
