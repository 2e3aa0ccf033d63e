"""Run `nox` for everything, `nox -s "tests(torch)"` for one session, `nox -l` for the list."""

import os
import random
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.error_on_missing_interpreters = True
# Six environments with the same large packages: uv unpacks each once, pip six times.
nox.options.default_venv_backend = "uv|virtualenv"
if "PIP_FIND_LINKS" in os.environ:
    os.environ.setdefault("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])

BACKENDS = ("jax", "tensorflow", "torch")
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]
# Tests are independent of each other; what a process has built or compiled serves the tests that follow.
PARALLEL = ("--numprocesses=logical", "--maxprocesses=4", "--dist=worksteal")


def install(session, *groups):
    """Install the package and the pinned dependency groups, in one go so that the pins hold."""
    # Few of the files are ever imported, so compiling all of them would take longer than to compile these when needed.
    session.install("--no-compile", *(requirement for group in groups for requirement in GROUPS[group]), ".")
    session.env["TF_CPP_MIN_LOG_LEVEL"] = "2"


def run_tests(session, backend, *arguments):
    """Run pytest under one backend."""
    session.env["KERAS_BACKEND"] = backend
    run_pytest(session, *arguments)


def run_pytest(session, *arguments):
    """Run pytest in several processes, which share what JAX has compiled."""
    # Two processes on two cores: threads of one would wait for those of the other, many times over under torch.
    session.env["OMP_NUM_THREADS"] = "1"
    session.env["JAX_COMPILATION_CACHE_DIR"] = session.create_tmp()
    session.env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    session.run("pytest", *PARALLEL, "--durations=15", *arguments, *session.posargs)


def run_ordinary_tests(session, backend, *arguments):
    """Run the tests that have no session of their own."""
    run_tests(session, backend, "--ignore=tests/hunt", "--ignore=tests/roundtrip", *arguments)


@nox.session
def lint(session):
    """Check style, formatting and types, also as users see them."""
    install(session, "keras", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    # As the type checkers of users see the installed package.
    session.run("mypy", "--strict", "tests/user_code.py")
    session.run("pyright", "--verifytypes", "keras_initx", "--ignoreexternal")


@nox.session
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def tests(session, backend):
    """Run the tests with one framework installed, and no other."""
    install(session, "keras", "test", backend)
    run_ordinary_tests(session, backend)


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def full(session, backend):
    """Run the tests with all of the large products of cases, of which `tests` runs a sample."""
    install(session, "keras", "test", backend)
    run_ordinary_tests(session, backend, "--full")


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def device(session, backend):
    """Make every case on a device, which a CPU can be: by programs, by operations of torch, by Triton's interpreter."""
    install(session, "keras", "test", backend, *(["triton"] if backend == "torch" else []))
    run_tests(session, backend, "--full", "tests/device")
    if backend == "torch":
        session.env["TRITON_INTERPRET"] = "1"
        run_tests(session, backend, "--full", "tests/device")


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def hunt(session, backend):
    """Try what rarely happens: a zoo of models, every layer first built in every way, full disks, missing extras."""
    install(session, "keras", "test", backend)
    run_tests(session, backend, "tests/hunt")


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def kerashub(session, backend):
    """Diagnose and load backbones of KerasHub, which needs TensorFlow beside the backend."""
    install(session, "keras", "test", "kerashub", backend)
    run_tests(session, backend, "tests/hunt/test_kerashub.py", "tests/hunt/test_kerashub_pretrained.py")


@nox.session
def roundtrip(session):
    """Save under each framework and load under each other, with all of them installed."""
    install(session, "keras", "test", "demo", *BACKENDS)
    # A process for each file, whose tests share what the processes that they start have saved.
    run_pytest(session, "--dist=loadfile", "tests/roundtrip")


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def minimums(session, backend):
    """Run the tests with the oldest versions that are supported."""
    install(session, "minimums", f"minimums-{backend}", "test")
    # How Keras 3.10 updates a slice under torch.
    old = "ignore:Using a non-tuple sequence for multidimensional indexing:UserWarning"
    run_ordinary_tests(session, backend, "-W", old)


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def fuzz(session, backend):
    """Try thousands of arguments, shapes and dtypes; `-- --hypothesis-seed=N` repeats a run."""
    install(session, "keras", "test", backend)
    seed = f"--hypothesis-seed={random.getrandbits(32)}"
    files = ("tests/test_fuzz.py", "tests/sampling/test_properties.py")
    run_tests(session, backend, *files, "--hypothesis-profile=fuzz", seed)


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def bench(session, backend):
    """Run the quick forms of the benchmarks; results go to out/."""
    # torch is a peer on every backend.
    install(session, "keras", "bench", backend, "torch")
    session.env["KERAS_BACKEND"] = backend
    for script in ("sampling", "build"):
        session.run("python", f"benchmarks/{script}.py", "--quick", *session.posargs)


@nox.session
def package(session):
    """Build what is published, check it, and run the command line of the wheel."""
    session.install(*GROUPS["package"])
    folder = session.create_tmp()
    shutil.rmtree(folder)
    session.run("python", "-m", "build", "--outdir", folder)  # the wheel from the sdist
    files = sorted(str(path) for path in Path(folder).iterdir())
    session.run("twine", "check", "--strict", *files)
    session.install(
        "--no-compile", *GROUPS["keras"], *GROUPS["jax"], *(file for file in files if file.endswith(".whl"))
    )
    session.run("initx", "show", "sparse", env={"KERAS_BACKEND": "jax"})


@nox.session(default=False, python=["3.12", "3.13"])
@nox.parametrize("backend", ("jax", "tensorflow"), ids=("jax", "tensorflow"))
def pythons(session, backend):
    """Run the tests with newer versions of Python."""
    install(session, "keras", "test", backend)
    run_ordinary_tests(session, backend)


@nox.session
def docs(session):
    """Build the documentation with warnings as errors, and run its examples."""
    install(session, "keras", "jax", "docs")
    session.env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # most of the time would go into compiling
    shared = ("-d", "docs/_build/doctrees")  # so that the pages are read once
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-b", "html", *shared, "docs", "docs/_build/html")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "doctest", *shared, "docs", "docs/_build/doctest")
