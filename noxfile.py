"""Run `nox` for everything, `nox -s "tests(torch)"` for one session, `nox -l` for the list."""

import random

import nox

nox.needs_version = ">=2025.2.9"
nox.options.error_on_missing_interpreters = True

BACKENDS = ("jax", "tensorflow", "torch")
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]


def install(session, *groups):
    """Install the package and the pinned dependency groups, in one go so that the pins hold."""
    session.install(*(requirement for group in groups for requirement in GROUPS[group]), ".")
    session.env["TF_CPP_MIN_LOG_LEVEL"] = "2"


@nox.session
def lint(session):
    """Check style, formatting and types."""
    install(session, "keras", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def tests(session, backend):
    """Run the tests with one framework installed, and no other."""
    install(session, "keras", "test", backend)
    session.env["KERAS_BACKEND"] = backend
    session.run("pytest", "--ignore=tests/roundtrip", *session.posargs)


@nox.session
def roundtrip(session):
    """Save under each framework and load under each other, with all of them installed."""
    install(session, "keras", "test", "demo", *BACKENDS)
    session.run("pytest", "tests/roundtrip", *session.posargs)


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def minimums(session, backend):
    """Run the tests with the oldest versions that are supported."""
    install(session, "minimums", f"minimums-{backend}", "test")
    session.env["KERAS_BACKEND"] = backend
    # How Keras 3.10 updates a slice under torch.
    old = "ignore:Using a non-tuple sequence for multidimensional indexing:UserWarning"
    session.run("pytest", "--ignore=tests/roundtrip", "-W", old, *session.posargs)


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def fuzz(session, backend):
    """Try thousands of arguments, shapes and dtypes; `-- --hypothesis-seed=N` repeats a run."""
    install(session, "keras", "test", backend)
    session.env["KERAS_BACKEND"] = backend
    seed = f"--hypothesis-seed={random.getrandbits(32)}"
    session.run(
        "pytest",
        "tests/test_fuzz.py",
        "tests/sampling/test_properties.py",
        "--hypothesis-profile=fuzz",
        seed,
        *session.posargs,
    )


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
def docs(session):
    """Build the documentation with warnings as errors, and run its examples."""
    install(session, "keras", "jax", "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-b", "html", "docs", "docs/_build/html")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "doctest", "docs", "docs/_build/doctest")
