"""Run `nox` for everything, `nox -s "tests(torch)"` for one session, `nox -l` for the list."""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.error_on_missing_interpreters = True

BACKENDS = ("jax", "tensorflow", "torch")
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]


def install(session, *groups, extras=""):
    """Install the package and the pinned dependency groups, in one go so that the pins hold."""
    requirements = [requirement for group in groups for requirement in GROUPS[group]]
    session.install(*requirements, f".{extras}")
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
    session.run("pytest", *session.posargs)
