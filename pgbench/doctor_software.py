"""The doctor on Python, packages, extras, and which `pgbench` a shell finds."""

import importlib
import platform
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pgbench import __version__
from pgbench.finding import Finding

PURPOSES = {
    "effnet": "IS, FD, KD and PRDC without a download",
    "lsun": "LSUN's LMDB files",
    "official": "the released HDF5 files, TFRecords and networks",
    "ray": "runs on several machines",
    "video": "videos",
}
_TOOLS = ("test", "dev")  # extras for developers
_LIGHT = {name: name for name in ("numpy", "scipy", "safetensors", "pydantic", "platformdirs")}
_LIGHT |= {"pillow": "PIL", "scikit-image": "skimage"}  # the others take too long to import
_SCRIPT_BYTES = 4096


def python() -> Iterator[Finding]:
    """The interpreter, and whether it is new enough."""
    from packaging.specifiers import SpecifierSet

    here, needed = platform.python_version(), metadata.metadata("pgbench")["Requires-Python"]
    facts = {"version": here, "needed": needed, "executable": sys.executable}
    if needed and not SpecifierSet(needed).contains(here, prereleases=True):
        text, cure = f"{here}, but pgbench needs {needed}", f"Install Python {needed}."
        yield Finding("software", "python", "problem", text, cure, facts)
        return
    yield Finding("software", "python", "ok", f"{here} at {sys.executable}", facts=facts)


def packages() -> Iterator[Finding]:
    """What pgbench needs: installed, within its bounds, and the light ones import."""
    versions: dict[str, str | None] = {"pgbench": __version__}
    bad = []
    for name, bounds in _requirements(""):
        versions[name] = _version(name)
        if wrong := _wrong(name, bounds, versions[name]) or _broken(name):
            cure = f"pip install --upgrade --force-reinstall '{name}{bounds}' mends it."
            bad.append(Finding("software", name, "problem", wrong, cure))
    torch = versions.get("torch")
    text = f"pgbench {__version__} with torch {torch} and {len(versions) - 2} other packages"
    text += f", {len(bad)} of them unusable" if bad else ", all within bounds"
    yield Finding("software", "packages", "problem" if bad else "ok", text, facts=dict(versions))
    yield from bad


def extras() -> Iterator[Finding]:
    """Each optional part: installed or not, and how to get it."""
    for extra in metadata.metadata("pgbench").get_all("Provides-Extra") or []:
        if extra in _TOOLS:
            continue
        needed = _requirements(extra)
        missing = [name for name, _ in needed if _version(name) is None]
        wrong = [
            found for name, bounds in needed if (found := _wrong(name, bounds, _version(name)))
        ]
        line = f"pip install 'pgbench[{extra}]'"
        purpose = PURPOSES.get(extra, "optional")
        facts = {"installed": not missing, "missing": [*missing], "install": line}
        name = f"extra-{extra}"
        if missing:
            text = f"not installed, for {purpose}"
            yield Finding("software", name, "ok", text, f"Where you need it: {line}.", facts)
        elif wrong:
            cure = f"{line} --upgrade mends it."
            yield Finding("software", name, "warning", "; ".join(wrong), cure, facts)
        else:
            yield Finding("software", name, "ok", f"installed, for {purpose}", facts=facts)


def command() -> Iterator[Finding]:
    """Which `pgbench` comes first on the PATH: PostgreSQL's benchmark has the same name."""
    found = shutil.which("pgbench")
    facts = {"path": found}
    if found is None:
        text = "pgbench is not on the PATH"
        cure = f"Call {sys.executable} -m pgbench, or activate the environment."
        yield Finding("software", "command", "warning", text, cure, facts)
    elif whose := _not_ours(Path(found)):
        text = f"{found} comes first on the PATH, and is {whose}"
        own = sysconfig.get_path("scripts")
        cure = f"Call {sys.executable} -m pgbench, or put {own} first on the PATH."
        yield Finding("software", "command", "warning", text, cure, facts)
    else:
        yield Finding("software", "command", "ok", f"{found} comes first on the PATH", facts=facts)


def _not_ours(script: Path) -> str:
    """What a `pgbench` is if it does not start this package with this interpreter, else empty."""
    try:
        with script.open("rb") as file:
            text = file.read(_SCRIPT_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return f"unreadable ({error.strerror})"
    if "pgbench.cli" not in text:
        return "another program (PostgreSQL's benchmark has the same name)"
    ours = text.split("\n", 1)[0].startswith(f"#!{sys.prefix}/")
    return "" if ours else "the one of another Python environment"


def _requirements(extra: str) -> list[tuple[str, str]]:
    """(name, bounds) of what pgbench needs, or of what an extra adds."""
    from packaging.requirements import Requirement

    found = []
    for text in metadata.requires("pgbench") or []:
        one = Requirement(text)
        always = one.marker is None or one.marker.evaluate({"extra": ""})
        chosen = one.marker is None or one.marker.evaluate({"extra": extra})
        if chosen and (not extra or not always):
            found.append((one.name, str(one.specifier)))
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name) or None
    except metadata.PackageNotFoundError:
        return None


def _wrong(name: str, bounds: str, version: str | None) -> str:
    """Why a package does not do; empty when it does."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    if version is None:
        return f"{name} is not installed"
    try:
        fits = SpecifierSet(bounds).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return f"{name} has the version {version!r}, which is none"
    return "" if fits else f"{name} {version} is installed, but pgbench needs {bounds}"


def _broken(name: str) -> str:
    """Why a package that imports quickly cannot be imported; empty when it can."""
    if name not in _LIGHT:
        return ""
    try:
        importlib.import_module(_LIGHT[name])
    except Exception as error:  # half an installation may raise anything
        return f"{name} cannot be imported ({type(error).__name__}: {error})"
    return ""
