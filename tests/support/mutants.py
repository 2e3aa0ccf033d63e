"""Plant small faults into files of the package, and print those that no test of their folder notices.

`python tests/support/mutants.py v1.2` takes a random sample of the faults that mutmut can plant into the files that
changed since that commit; without it, into all. Each is planted in memory, in a process that is forked when Keras and
the backend are loaded, so that the files stay as they are.
"""

import argparse
import ast
import collections
import contextlib
import functools
import importlib.machinery
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import NamedTuple

PACKAGE, TESTS = pathlib.Path("keras_initx"), pathlib.Path("tests")
# A fault that lets tests wait for more than so many times their time, and seconds, is noticed.
PATIENCE = 5, 60
# Functions of the same use, of which one is easily written in place of the other, and those that are easily left out.
EXCHANGED = {"all": "any", "any": "all", "max": "min", "min": "max"}
LEFT_OUT = ("abs", "bool", "reversed", "sorted")


class Mutant(NamedTuple):
    path: pathlib.Path
    line: int
    change: str
    source: str


def mutants_of(path):
    """Return the functions that make the mutants of a file, which takes time for each."""
    import libcst
    from libcst.metadata import MetadataWrapper, PositionProvider
    from mutmut.mutation.mutators import mutation_operators, operator_string

    def exchanged(call):
        name = call.func.value if isinstance(call.func, libcst.Name) else ""
        if name in EXCHANGED:
            yield call.with_changes(func=libcst.Name(EXCHANGED[name]))
        if name in LEFT_OUT and len(call.args) == 1:
            yield call.args[0].value.with_changes(lpar=[libcst.LeftParen()], rpar=[libcst.RightParen()])

    def opposite(statement):
        for value in ("False", "True"):
            yield statement.with_changes(test=libcst.Name(value, lpar=[libcst.LeftParen()], rpar=[libcst.RightParen()]))

    # The words of messages are pinned as texts.
    operators = [pair for pair in mutation_operators if pair[1] is not operator_string]
    operators += [(libcst.Call, exchanged), (libcst.If, opposite)]
    wrapper = MetadataWrapper(libcst.parse_module(path.read_text()))
    positions = wrapper.resolve(PositionProvider)
    makers = []

    def make(node, other):
        # What differs of a statement is its first line.
        texts = [wrapper.module.code_for_node(one).strip().splitlines()[0] for one in (node, other)]
        source = wrapper.module.deep_replace(node, other).code
        return Mutant(path, positions[node].start.line, " -> ".join(texts), source)

    class Visitor(libcst.CSTVisitor):
        def on_visit(self, node):
            # What types are, and what is imported, is checked by others.
            if isinstance(node, libcst.Annotation | libcst.Import | libcst.ImportFrom | libcst.Decorator):
                return False
            for kind, operator in operators:
                if isinstance(node, kind):
                    makers.extend((node, other) for other in operator(node) if node in positions)
            return True

    wrapper.module.visit(Visitor())
    return [lambda pair=pair: make(*pair) for pair in makers]


def is_another(mutant):
    """Return whether a mutant is Python, and another program."""
    try:
        code = compile(mutant.source, mutant.path, "exec")
    except SyntaxError:
        return False
    return code != compile(mutant.path.read_text(), mutant.path, "exec")


def sampled(paths, number, seed):
    """Return up to so many mutants of some files, each as likely as others."""
    makers = [maker for path in paths for maker in mutants_of(path)]
    random.Random(seed).shuffle(makers)
    found = {}
    for maker in makers:
        if len(found) == number:
            break
        mutant = maker()
        if is_another(mutant):
            found.setdefault((mutant.path, mutant.source), mutant)
    return sorted(found.values())


def tests_of(path):
    """Return the tests of the folder of a file, first those of the file itself."""
    folder = TESTS / path.parent.relative_to(PACKAGE)
    own = folder / f"test_{path.stem.removeprefix('_')}.py"
    if not own.is_file():
        own = TESTS / tested_through().get(str(path.relative_to(PACKAGE)), folder.relative_to(TESTS))
    # The folders in `tests` have folders of the package, or need more.
    if folder == TESTS:
        return [own, *sorted(TESTS.glob("test_*.py")), TESTS / "behavior", TESTS / "pages"]
    return [own, folder]


@functools.cache
def tested_through():
    """Return the tests of files that have none by their names. Their module would import the package."""
    for part in ast.parse((TESTS / "behavior" / "test_tested_files.py").read_text()).body:
        if isinstance(part, ast.Assign) and ast.unparse(part.targets) == "TESTED_THROUGH":
            return ast.literal_eval(part.value)


def plant(mutant):
    """Let Python read a mutant in place of its file."""
    read = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader, name):
        path = pathlib.Path(loader.get_filename(name))
        # Also of a package that is installed.
        return compile(mutant.source, path, "exec") if path.match(str(mutant.path)) else read(loader, name)

    importlib.machinery.SourceFileLoader.get_code = get_code


def start(tests, mutant=None, limit=0):
    """Start tests in a process of their own, and return its number. It ends with 0 if they pass."""
    import pytest

    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    with contextlib.suppress(BaseException):
        signal.alarm(limit)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        if mutant is not None:
            plant(mutant)
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:logging", *map(str, tests)]))
    os._exit(code)


def seconds_of(tests):
    """Return how long tests take that must pass."""
    begin = time.monotonic()
    _, status = os.waitpid(start(tests), 0)
    if status:
        sys.exit(f"tests fail without a mutant: {' '.join(map(str, tests))}")
    return time.monotonic() - begin


def survivors_of(mutants):
    """Return the mutants with which all tests pass, as many at once as there are cores."""
    limits = {}
    for path in dict.fromkeys(mutant.path for mutant in mutants):
        # Those of one folder are the same tests.
        if path.parent not in limits:
            factor, more = PATIENCE
            limits[path.parent] = int(factor * seconds_of(tests_of(path)) + more)
    waiting, running, survivors = collections.deque(mutants), {}, []
    while waiting or running:
        while waiting and len(running) < len(os.sched_getaffinity(0)):
            mutant = waiting.popleft()
            running[start(tests_of(mutant.path), mutant, limits[mutant.path.parent])] = mutant
        process, status = os.wait()
        mutant = running.pop(process)
        if not status:
            survivors.append(mutant)
        print("killed  " if status else "SURVIVES", f"{mutant.path}:{mutant.line}: {mutant.change}", flush=True)
    return sorted(survivors)


def changed_since(commit):
    """Return the files of the package that changed since a commit, and are still there; without one, all."""
    if commit is None:
        return sorted(PACKAGE.rglob("*.py"))
    command = ["git", "diff", "--name-only", "--diff-filter=d", commit, "--", f"{PACKAGE}/*.py"]
    return [pathlib.Path(line) for line in subprocess.check_output(command, text=True).split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", nargs="?", help="since when files changed")
    parser.add_argument("--files", nargs="+", type=pathlib.Path, help="files in place of those that changed")
    parser.add_argument("--number", type=int, default=150, help="of mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    options = parser.parse_args()
    mutants = sampled(options.files or changed_since(options.commit), options.number, options.seed)
    print(f"{len(mutants)} mutants, seed {options.seed}", flush=True)
    # What each process has from the beginning. The package itself is imported with the mutant.
    import keras
    import pytest  # noqa: F401

    print(f"Keras {keras.__version__} on {keras.backend.backend()}", flush=True)
    survivors = survivors_of(mutants)
    print("\nSurvivors")
    for mutant in survivors:
        print(f"{mutant.path}:{mutant.line}: {mutant.change}")
    print("\nSurvived of planted")
    planted = collections.Counter(mutant.path for mutant in mutants)
    survived = collections.Counter(mutant.path for mutant in survivors)
    for path, number in planted.items():
        print(f"{survived[path]:4} of {number:3}  {path}")
    print(f"{len(survivors):4} of {len(mutants):3}  all")


if __name__ == "__main__":
    main()
