"""Run `nox` for the usual checks, one on each core, and `nox -t release` for all others.

`nox -s "tests(jax)"` runs one; see `nox -l`.
"""

import os
import random
import re
import runpy
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.error_on_missing_interpreters = True
# Five environments share the same large packages: uv unpacks each package once, pip six times.
nox.options.default_venv_backend = "uv|virtualenv"
# Without its compiled files each process would compile all of Keras and the backend, which takes 10
# seconds and more.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
if "PIP_FIND_LINKS" in os.environ:
    os.environ.setdefault("UV_FIND_LINKS", os.environ["PIP_FIND_LINKS"])

BACKENDS = runpy.run_path("keras_initx/_startup.py")["BACKENDS"]
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]
# Tests are independent; a process reuses what earlier tests have built or compiled. No test reads
# what is logged.
PARALLEL = ("--numprocesses=logical", "--maxprocesses=4", "--dist=worksteal", "-p", "no:logging")


def install(session, *groups):
    """Install the package and the pinned dependency groups in one step, so that the pins hold."""
    # Few of the files are ever imported, so compiling on demand is faster than compiling all of
    # them.
    session.install(
        "--no-compile", *(requirement for group in groups for requirement in GROUPS[group]), "."
    )
    session.env["TF_CPP_MIN_LOG_LEVEL"] = "2"


def run_tests(session, backend, *arguments):
    """Run pytest under one backend, in several processes, which share JAX' compilation cache."""
    session.env["KERAS_BACKEND"] = backend
    # With two processes on two cores, their threads would wait for each other, especially with
    # torch.
    session.env.setdefault("OMP_NUM_THREADS", "1")
    # An absolute path, since some tests change the current folder.
    session.env["JAX_COMPILATION_CACHE_DIR"] = str(Path(session.create_tmp()).resolve())
    session.env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    session.env["JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS"] = (
        "0"  # which take long for small programs
    )
    session.run("pytest", *PARALLEL, "--durations=15", *arguments, *session.posargs)


# Before a release: rare situations too, and the numbers of all backends.
ALL = {"KERAS_INITX_TESTS": "all"}
# Folders of tests with a session of their own, which says what only they find.
SEPARATE = ("browser", "device", "frameworks", "hosts", "hunt", "roundtrip")
ORDINARY = tuple(f"--ignore=tests/{folder}" for folder in SEPARATE)
OF_DEVICES = ("tests/device", "tests/backends")  # with values made on a device

# In the usual tests torch runs those that need all extras, and JAX those of the README.
EXTRAS = {"torch": ("extras",), "jax": ("demo",)}

# Those that take longest first.
CHECKS = (*(f"tests({backend})" for backend in reversed(BACKENDS)), "docs", "lint")


@nox.session(venv_backend="none", default=True)
def checks(session):
    """Run the usual checks, `tests`, `docs` and `lint`, one on each core, and print at its end what each has printed."""  # noqa: E501, a page shows it whole

    def run(name, *options):
        command = (sys.executable, "-m", "nox", "--session", name, *options)
        session.log(session.run(*command, silent=True))

    longest, *others = CHECKS
    # The tests of torch take longer than all others together, so they have all cores first.
    run(longest)
    # In one process each, so that each framework is imported once.
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        runs = [executor.submit(run, name, "--", "--numprocesses=0") for name in others]
    for one in runs:
        one.result()  # which raises the error of a check


@nox.session(default=False)
def lint(session):
    """Check style, formatting and types, including types as users see them."""
    install(session, "keras", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    # The installed package, as type checkers of users see it.
    session.run("pyright", "--verifytypes", "keras_initx", "--ignoreexternal", silent=True)


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def tests(session, backend):
    """Run the tests with a single framework installed; each backend loads what others have saved before."""  # noqa: E501, a page shows it whole
    install(session, "keras", "test", *EXTRAS.get(backend, ()), backend)
    session.env["KERAS_INITX_EXCHANGE"] = str(Path(session.cache_dir, "exchange").resolve())
    run_tests(session, backend, *ORDINARY)


@nox.session(default=False, tags=["release"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def device(session, backend):
    """Test the device code path on a CPU: compiled programs, torch operations, Triton's interpreter.

    Only these tests compare all that is made on a device with the host, and compile the kernel for
    GPUs. With an accelerator they use it.
    """  # noqa: E501, a page shows it whole
    of_torch = ("triton",) if backend == "torch" else ()
    install(session, "keras", "test", "extras", backend, *of_torch)
    run_tests(session, backend, *OF_DEVICES)
    if backend == "torch":
        session.env["TRITON_INTERPRET"] = "1"
        run_tests(session, backend, *OF_DEVICES)


# What makes each framework compute as on an older processor, with one and with two threads. Below
# AVX2, JAX' compiler has no float16.
OLDER = {
    "torch": (
        {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"},
        {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2"},
    ),
    "jax": (
        {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2", "NPROC": "1"},
        {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2", "NPROC": "2"},
    ),
    "tensorflow": (
        {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "1"},
        {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "2"},
    ),
}


@nox.session(default=False, tags=["release"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def processors(session, backend):
    """Run the usual tests as an older processor computes, with one and two threads.

    Only these tests round in another order. They find a test that expects the rounding of one
    processor, and golden values that depend on it.
    """
    install(session, "keras", "test", *EXTRAS.get(backend, ()), backend)
    for settings in OLDER[backend]:
        session.log(f"computes with {settings}")
        session.env.update(settings)
        run_tests(session, backend, *ORDINARY)


@nox.session(default=False, tags=["release"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def hunt(session, backend):
    """Test rare situations: a zoo of models, all ways to build each layer, full disks, missing extras.

    Only these tests combine each kind of model, layer and loss with each tool, and follow the pages
    to the letter. They find false alarms, and what two parts break that are right by themselves.
    """  # noqa: E501, a page shows it whole
    install(session, "keras", "test", "extras", backend)
    session.env.update(ALL)
    session.env["KERAS_INITX_EXCHANGE"] = str(Path(session.cache_dir, "exchange").resolve())
    run_tests(session, backend, "tests/hunt")
    run_tests(session, backend, *ORDINARY, "-m", "rare or release_backends")


@nox.session(default=False, tags=["release"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def hosts(session, backend):
    """Share a model between processes: sharded, mirrored, or a whole one in each.

    Only these tests have several processes. They find other weights in one of them, messages and
    copies, and a process that waits for another that has failed.
    """
    install(session, "keras", "test", "extras", backend)
    run_tests(session, backend, "tests/hosts", "--numprocesses=0")  # the tests start their own


@nox.session(default=False, tags=["release"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def kerashub(session, backend):
    """Diagnose, load and compare backbones of KerasHub, which needs TensorFlow beside the backend."""  # noqa: E501, a page shows it whole
    install(session, "keras", "test", "extras", "kerashub", backend)
    session.env["KERAS_INITX_EXCHANGE"] = str(Path(session.cache_dir, "exchange").resolve())
    run_tests(session, backend, *map(str, Path("tests/hunt").glob("test_kerashub*.py")))


@nox.session(default=False, tags=["release"])
def nnx(session):
    """Initialize and load models where Keras' layers are modules of Flax: `KERAS_NNX_ENABLED=1`.

    Only these tests have such layers. They find attributes that Flax refuses.
    """
    install(session, "keras", "test", "extras", "jax", "nnx")
    session.env["KERAS_NNX_ENABLED"] = "1"
    files = (
        "tests/test_keras.py",
        "tests/behavior/test_golden.py",
        "tests/behavior/test_layers.py",
        "tests/behavior/test_saving.py",
    )
    # What Keras and Flax refuse without this package too.
    refused = (
        # A `JaxLayer` cannot be built.
        "--ignore=tests/tools/initialize/behavior/test_jax_layer.py",
        # A layer cannot change its attributes in a program: not be built in one, nor count calls.
        "--deselect=tests/test_keras.py::test_the_layer_that_uses_an_initializer_if_fit_builds_the_model",
        "--deselect=tests/test_keras.py::test_a_package_of_the_backend_is_keras_too",
        "--deselect=tests/tools/initialize/test_lsuv.py::test_nothing_but_kernels_changes_and_a_compiled_model_trains_on_from_them",
    )
    rooms = (
        "tests/tools/initialize",
        "tests/checkpoints",
        "tests/tools/load_pretrained",
        "tests/inspection",
        "tests/tools/loading",
    )
    run_tests(session, "jax", *files, *rooms, *refused)


@nox.session(default=False, tags=["release"])
@nox.parametrize("framework", ("torch", "flax"), ids=("torch", "flax"))
def frameworks(session, framework):
    """Compare the recipes `"torch"` and `"flax"` with what torch.nn and Flax draw.

    Only these tests have both. They find a default that another version has changed, and alarms in
    a thousand fresh models of torch.
    """
    backend = {"torch": ("torch",), "flax": ("jax", "nnx")}[framework]
    install(session, "keras", "test", *backend)
    run_tests(session, backend[0], f"tests/frameworks/test_{framework}.py")


@nox.session(default=False, tags=["release"])
def roundtrip(session):
    """Save with each framework and load with each other, with all frameworks installed.

    Only these tests have more than one framework. They find values and files that differ between
    two of them.
    """
    install(session, "keras", "test", "extras", *BACKENDS)
    # One process per file, because the tests of a file share saved models. JAX is the quickest to
    # import.
    run_tests(session, "jax", "--dist=loadfile", "tests/roundtrip")
    # The others compare processes of all backends.
    run_tests(session, "tensorflow", "tests/roundtrip/test_torch_modules.py")


@nox.session(default=False, tags=["release"])
def coverage(session):
    """Measure the branch coverage of the tests of all backends, devices and round trips together."""  # noqa: E501, a page shows it whole
    install(session, "keras", "test", "extras", "coverage", "triton", *BACKENDS)
    # Also read by processes that the tests start.
    data = session.env["COVERAGE_FILE"] = str(Path(session.create_tmp(), "measured"))
    session.run("coverage", "erase")
    options = ("--cov", "--cov-append", "--cov-report=")
    session.env.update(ALL)
    for backend in BACKENDS:
        run_tests(session, backend, *ORDINARY, *options)
    session.env["TRITON_INTERPRET"] = "1"
    run_tests(session, "torch", *options, *OF_DEVICES)
    run_tests(session, "torch", "--dist=loadfile", *options, "tests/roundtrip")
    # Some of these processes import the package from the repository.
    result = str(Path(session.create_tmp(), "coverage"))
    session.run("coverage", "combine", "--quiet", "--keep", f"--data-file={result}", data)
    session.run(
        "coverage",
        "report",
        f"--data-file={result}",
        "--skip-covered",
        "--show-missing",
        "--fail-under=97",
    )


@nox.session(default=False, tags=["release"])
def mutants(session):
    """Plant 150 small faults, and print those that no test notices; `-- v1.2` into what changed since then."""  # noqa: E501, a page shows it whole
    install(session, "keras", "test", "extras", "torch", "mutants")
    session.env["KERAS_BACKEND"] = "torch"
    session.env["OMP_NUM_THREADS"] = "1"
    session.run("python", "tests/support/mutants.py", *session.posargs)


@nox.session(default=False, tags=["release"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def minimums(session, backend):
    """Run the tests with the oldest supported versions."""
    install(session, "minimums", f"minimums-{backend}", "test", "extras")
    # JAX 0.5.3 reads programs from its cache that compute something else.
    session.env["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    session.env.update(ALL)
    old = (
        # Keras 3.10, when it updates a slice with torch.
        "ignore:Using a non-tuple sequence for multidimensional indexing:UserWarning",
        # JAX 0.5.3, when Keras asks for zeros like a variable.
        "ignore:in the future the `.dtype` attribute of a given datatype object:DeprecationWarning",
    )
    run_tests(
        session, backend, *ORDINARY, *(argument for warning in old for argument in ("-W", warning))
    )


@nox.session(default=False, tags=["release"])
@nox.parametrize("backend", ("jax", "torch"), ids=("jax", "torch"))
def nightly(session, backend):
    """Run the tests with the next Keras, as it is today; on torch two processes share a model.

    Only these tests have the `DTensor`s of torch that Keras makes from 3.16 on.
    """
    install(session, "keras", "test", "extras", backend)
    # It has the folder of Keras, and no other requirements.
    uninstall = ("uv", "pip") if session.venv_backend == "uv" else ("python", "-m", "pip")
    yes = () if session.venv_backend == "uv" else ("--yes",)
    session.run(*uninstall, "uninstall", *yes, "keras", external=True)
    session.install("--no-compile", "--no-deps", "--pre", "keras-nightly")
    session.run(
        "python", "-c", "import keras; print(keras.__version__)", env={"KERAS_BACKEND": backend}
    )
    session.env.update(ALL)
    run_tests(session, backend, *ORDINARY)
    if backend == "torch":
        run_tests(session, backend, "tests/hosts", "--numprocesses=0")


@nox.session(default=False, tags=["release"])
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def fuzz(session, backend):
    """Test thousands of random arguments, shapes and dtypes; `-- --hypothesis-seed=N` repeats a run."""  # noqa: E501, a page shows it whole
    install(session, "keras", "test", "extras", backend)
    seed = f"--hypothesis-seed={random.getrandbits(32)}"
    files = (
        "tests/behavior/test_fuzz.py",
        "tests/sampling/behavior/test_properties.py",
        "tests/sampling/behavior/test_compiled_kernel.py",
    )
    run_tests(session, backend, *files, "--hypothesis-profile=fuzz", seed)


@nox.session(default=False, tags=["release"])
def site(session):
    """Open the pages in Chromium, that of the system or of `playwright install chromium`.

    Only these tests search the pages, open them on a phone, and use the page to play with.
    """
    install(session, "keras", "test", "extras", "site", "docs", "torch")
    session.run(
        "sphinx-build",
        "-q",
        "-b",
        "html",
        "docs",
        "docs/_build/html",
        env={"KERAS_BACKEND": "torch"},
    )
    run_tests(session, "torch", "tests/browser", "--numprocesses=0")


@nox.session(default=False, tags=["release"])
def notebook(session):
    """Run the notebooks, which the pages show as they are kept."""
    install(session, "keras", "jax", "torch", "docs", "extras", "test")
    for path in sorted(Path("docs").glob("*.ipynb")):
        # They write files beside them.
        copy = shutil.copy(path, session.create_tmp())
        session.run("jupyter", "execute", copy, "--timeout=300")


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def bench(session, backend):
    """Measure the quick forms of the benchmarks on an idle machine, and write their page."""
    install(session, "keras", backend)
    session.env["KERAS_BACKEND"] = backend
    options = ("--quick", "--out", "benchmarks/results", *session.posargs)
    for script in ("sampling", "build", "save_pretrained", "startup"):
        session.run("python", f"benchmarks/{script}.py", *options)
    session.run("python", "docs/tables.py")


@nox.session(default=False, tags=["release"])
def package(session):
    """Build and check the distributions that a package index takes, and run the command line of the wheel."""  # noqa: E501, a page shows it whole
    session.install(*GROUPS["package"])
    folder = Path(session.create_tmp())
    shutil.rmtree(folder)
    # The wheel from the sdist.
    session.run("python", "-m", "build", "--installer=uv", "--outdir", str(folder))
    for wheel in folder.glob("*-linux_*.whl"):
        # Package indexes take a compiled wheel only under the name of the oldest Linux that it
        # runs on. Without a compiler it is pure Python, which they take as it is.
        session.run("auditwheel", "repair", "--wheel-dir", str(folder), str(wheel))
        wheel.unlink()
    files = sorted(str(path) for path in folder.iterdir())
    session.run("twine", "check", "--strict", *files)
    session.install(
        "--no-compile",
        *GROUPS["keras"],
        *GROUPS["jax"],
        *(file for file in files if file.endswith(".whl")),
    )
    # It finds the one backend that is installed, where no file of Keras names one.
    session.run("initx", "show", "sparse", env={"KERAS_BACKEND": None, "KERAS_HOME": str(folder)})
    read = (
        "import importlib.metadata; print(importlib.metadata.metadata('keras_initx').get_payload())"
    )
    if broken := re.findall(r"\]\((?!https?:).*", session.run("python", "-c", read, silent=True)):
        session.error(f"links that a package index cannot follow: {broken}")


@nox.session(default=False, python=["3.12", "3.13"], tags=["release"])
@nox.parametrize("backend", ("jax", "torch"), ids=("jax", "torch"))
def pythons(session, backend):
    """Run the tests with newer versions of Python."""
    install(session, "keras", "test", "extras", backend)
    session.env.update(ALL)
    run_tests(session, backend, *ORDINARY)


@nox.session(default=False)
def docs(session):
    """Build the documentation with warnings as errors; the tests run its examples."""
    install(session, "keras", "jax", "docs")
    only_what_is_wrong = ("-q", "--keep-going")
    options = (*only_what_is_wrong, "-W", "-n", "-b", "html")
    session.run("sphinx-build", *options, "docs", "docs/_build/html")
