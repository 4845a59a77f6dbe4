"""`pgbench doctor`: every state and its cure, on places of the test's own, whatever is broken."""

import builtins
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from email.message import Message
from importlib import metadata

import pytest

from pgbench import doctor_machine, doctor_places, doctor_software
from pgbench.doctor import examine, to_json
from pgbench.metrics import weights


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current folder, an empty cache, a PATH of one folder, and no driver."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("OMP_NUM_THREADS", "CXX", "TORCH_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor_machine, "DRIVER", tmp_path / "driver")
    monkeypatch.setattr(doctor_machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(doctor_places, "LOW_BYTES", 0)
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def doctor(pgbench, place):
    """Call `pgbench doctor --json`: the exit code, and the checks by name."""

    def call():
        ended = pgbench("doctor", "--json")
        assert (ended.err, ended.out.count("\n")) == ("", 1)
        found = json.loads(ended.out)
        assert list(found) == ["schema", "state", "counts", "checks"]
        assert ended.code == (1 if found["state"] == "problem" else 0)
        keys = {"section", "name", "state", "text", "cure", "facts"}
        assert all(set(each) == keys for each in found["checks"])
        return ended.code, {each["name"]: each for each in found["checks"]}

    return call


def put_command(place, text):
    script = place / "bin" / "pgbench"
    script.write_text(text)
    script.chmod(0o755)
    return script


def told(check):
    return check["state"], check["text"], check["cure"]


def test_a_fresh_machine_has_every_check_and_no_problem(doctor, place):
    put_command(place, f"#!{sys.prefix}/bin/python\nfrom pgbench.cli import main\n")
    code, checks = doctor()
    assert code == 0
    names = ["python", "packages", "command", "threads", "cuda", "compiler", "stores", "inception"]
    assert {*names, "offline", "cache", "folder", "results"} <= set(checks)
    assert {name for name in checks if name.startswith("extra-")} == {
        f"extra-{name}"
        for name in metadata.metadata("pgbench").get_all("Provides-Extra")
        if name not in ("test", "dev")
    }
    assert checks["packages"]["facts"]["torch"] == metadata.version("torch")
    assert checks["stores"]["text"].startswith("none yet")
    assert checks["results"]["text"] == f"no runs under {place / 'work' / 'results'}"
    assert not (place / "cache").exists()


def test_the_table_has_marks_cures_and_counts(pgbench, place, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ended = pgbench("doctor")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("warning  threads"))
    assert lines[at].endswith("  4 cores, OMP_NUM_THREADS is 1")
    cure = "-> Unset OMP_NUM_THREADS to train on all cores, unless other work needs them."
    assert lines[at + 1].strip() == cure
    assert lines[-1] == "0 problems, 2 warnings."  # no pgbench on this PATH, either


@pytest.mark.parametrize(
    ("text", "whose"),
    [
        ("\x7fELF\x02\x00", "another program (PostgreSQL's benchmark has the same name)"),
        (
            "#!/elsewhere/bin/python\nfrom pgbench.cli import main\n",
            "the one of another Python environment",
        ),
    ],
)
def test_another_pgbench_on_the_path(doctor, place, text, whose):
    script = put_command(place, text)
    code, checks = doctor()
    assert code == 0
    assert told(checks["command"]) == (
        "warning",
        f"{script} comes first on the PATH, and is {whose}",
        f"Call {sys.executable} -m pgbench, or put {sysconfig.get_path('scripts')} first on the "
        "PATH.",
    )


def test_no_pgbench_on_the_path(doctor):
    cure = f"Call {sys.executable} -m pgbench, or activate the environment."
    assert told(doctor()[1]["command"]) == ("warning", "pgbench is not on the PATH", cure)


@pytest.mark.parametrize(
    ("threads", "state"), [("", "ok"), ("4", "ok"), ("1", "warning"), ("9", "warning"), ("x", "ok")]
)
def test_threads_that_are_not_the_cores(doctor, monkeypatch, threads, state):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    check = doctor()[1]["threads"]
    assert check["state"] == state
    assert check["facts"] == {"cores": 4, "omp_num_threads": threads or None}
    assert bool(check["cure"]) == (state == "warning")


def test_the_compiler_is_only_for_compile(doctor, place, monkeypatch):
    found = doctor()[1]["compiler"]
    assert told(found) == (
        "ok",
        "no g++, which only --compile needs",
        "For --compile install g++.",
    )
    (place / "bin" / "g++").touch(mode=0o755)
    assert doctor()[1]["compiler"]["facts"] == {"path": str(place / "bin" / "g++")}
    monkeypatch.setenv("CXX", "my-c++")  # torch looks for no other then
    assert doctor()[1]["compiler"]["text"] == "no my-c++, which only --compile needs"
    (place / "bin" / "my-c++").touch(mode=0o755)
    assert doctor()[1]["compiler"]["facts"] == {"path": str(place / "bin" / "my-c++")}


def test_cuda_devices_and_a_driver_without_any(doctor, place, monkeypatch):
    import torch

    (place / "driver").touch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check = doctor()[1]["cuda"]
    text = f"there is an NVIDIA driver, but torch {torch.__version__} sees no device"
    assert told(check)[:2] == ("warning", text)

    class Device:
        name, total_memory = "H100", 85 * 10**9

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Device)
    check = doctor()[1]["cuda"]
    assert told(check) == ("ok", "H100 with 85.0 GB, H100 with 85.0 GB", None)
    assert check["facts"]["devices"] == [{"name": "H100", "memory_bytes": 85 * 10**9}] * 2


def test_torch_is_imported_only_for_a_driver(place, program):
    text = """
        import sys
        from pathlib import Path
        from pgbench import doctor_machine
        from pgbench.doctor import examine
        doctor_machine.DRIVER = Path("/none")
        examine(Path.cwd())
        print("torch" in sys.modules)
    """
    ended = program("\n".join(line.strip() for line in text.splitlines()))
    assert (ended.code, ended.out) == (0, "False\n"), ended.err


def test_the_weights_are_those_that_the_metrics_take():
    known = (doctor_places.WEIGHTS, doctor_places.WEIGHTS_SHA256, doctor_places.WEIGHTS_BYTES)
    assert known == (weights.NAME, weights.SHA256, weights.NUM_BYTES)


@pytest.fixture
def tiny_weights(monkeypatch):
    """Eight bytes stand for the weights."""
    monkeypatch.setattr(doctor_places, "WEIGHTS_BYTES", 8)
    digest = hashlib.sha256(b"inceptio").hexdigest()
    monkeypatch.setattr(doctor_places, "WEIGHTS_SHA256", digest)
    return b"inceptio"


@pytest.mark.parametrize(("data", "state"), [(b"inceptio", "ok"), (b"8 others", "problem")])
def test_weights_in_the_cache(doctor, tiny_weights, data, state):
    file = doctor_places.weights_place()
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    code, checks = doctor()
    check = checks["inception"]
    assert (code, check["state"]) == (int(state == "problem"), state)
    assert check["facts"] == {"path": str(file), "present": True, "right": state == "ok"}
    if state == "problem":
        cure = f"Remove {file}; the next metric that needs it fetches it again."
        assert told(check)[1:] == (f"{file} is not the expected file (its SHA-256 differs)", cure)


def test_weights_of_torch_fidelity(doctor, place, tiny_weights, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(place / "torch"))
    other = place / "torch" / "hub" / "checkpoints" / doctor_places.WEIGHTS
    other.parent.mkdir(parents=True)
    other.write_bytes(tiny_weights)
    check = doctor()[1]["inception"]
    cure = f"Give --weights {other}, or copy it to {doctor_places.weights_place()}."
    assert (check["state"], check["cure"]) == ("ok", cure)


def test_what_works_offline(doctor, tiny_weights, monkeypatch):
    network = "metrics is|fid|kid|prdc"
    assert network in doctor()[1]["offline"]["facts"]["needs_download"]
    file = doctor_places.weights_place()
    file.parent.mkdir(parents=True)
    file.write_bytes(tiny_weights)
    monkeypatch.setattr(doctor_places, "find_spec", lambda name: None)
    facts = doctor()[1]["offline"]["facts"]
    assert network in facts["works"]
    assert facts["needs_download"] == [f"{network} --extractor efficientnet-lite0"]


def test_caches_with_their_sizes(doctor, place):
    for name, count in (("data", 3_000_000), ("features", 500_000)):
        (place / "cache" / "pgbench" / name / "deep").mkdir(parents=True)
        (place / "cache" / "pgbench" / name / "deep" / "file").write_bytes(bytes(count))
    check = doctor()[1]["cache"]
    assert check["facts"]["sizes_bytes"] == {"data": 3_000_000, "features": 500_000}
    assert f"{place / 'cache' / 'pgbench'} (data 3.0 MB, features 0.5 MB), " in check["text"]


def test_a_cache_that_cannot_be_made_is_a_problem(doctor, place, monkeypatch):
    (place / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "file"))
    code, checks = doctor()
    assert code == 1
    cache = place / "file" / "pgbench"
    assert told(checks["cache"]) == (
        "problem",
        f"{cache} (empty) cannot be written (Not a directory)",
        f"Make {cache} writable, or set XDG_CACHE_HOME to a folder that is.",
    )


def test_an_unwritable_current_folder_is_a_warning(doctor, place, monkeypatch):
    monkeypatch.setattr(doctor_places, "_why_unwritable", lambda _: "Permission denied")
    code, checks = doctor()
    assert code == 1  # the cache cannot be written, either
    work = place / "work"
    cure = "Go to a folder you may write to, or give --out."
    text = f"{work} cannot be written (Permission denied)"
    assert told(checks["folder"]) == ("warning", text, cure)


def test_little_space_is_a_warning(doctor, place, monkeypatch):
    monkeypatch.setattr(doctor_places, "LOW_BYTES", 10**18)
    code, checks = doctor()
    assert code == 0
    assert checks["folder"]["state"] == "warning"
    work = place / "work"
    cure = f"Free some space on the disk of {work}: data sets and runs take gigabytes."
    assert checks["folder"]["cure"] == cure


def test_packages_out_of_bounds_and_missing(doctor, monkeypatch):
    versions = {"torch": "1.0", "scipy": "who knows"}
    real = metadata.version

    def version(name):
        if name == "pandas":
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    bounds = dict(doctor_software._requirements(""))
    code, checks = doctor()
    assert code == 1
    assert told(checks["torch"]) == (
        "problem",
        f"torch 1.0 is installed, but pgbench needs {bounds['torch']}",
        f"pip install --upgrade --force-reinstall 'torch{bounds['torch']}' mends it.",
    )
    assert checks["pandas"]["text"] == "pandas is not installed"
    assert checks["scipy"]["text"] == "scipy has the version 'who knows', which is none"
    assert checks["packages"]["text"].endswith("3 of them unusable")
    assert checks["packages"]["state"] == "problem"


def test_an_old_python(doctor, monkeypatch):
    monkeypatch.setattr(doctor_software.platform, "python_version", lambda: "3.9.1")
    code, checks = doctor()
    needed = metadata.metadata("pgbench")["Requires-Python"]
    text = f"3.9.1, but pgbench needs {needed}"
    assert (code, told(checks["python"])) == (1, ("problem", text, f"Install Python {needed}."))


def test_extras_that_are_there_missing_or_out_of_bounds(doctor, monkeypatch):
    about = Message()
    for name in ("lsun", "video", "unknown", "test", "dev"):
        about["Provides-Extra"] = name
    needed = ["numpy>=1", "none-such>=2; extra == 'lsun'", "click>=1; extra == 'video'"]
    needed += ["click>=99; extra == 'unknown'", "none-such; extra == 'test'"]
    monkeypatch.setattr(metadata, "metadata", lambda name: about)
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    code, checks = doctor()
    assert (code, [name for name in checks if "extra-" in name]) == (
        0,
        ["extra-lsun", "extra-video", "extra-unknown"],
    )
    lsun = checks["extra-lsun"]
    assert told(lsun) == (
        "ok",
        "not installed, for LSUN's LMDB files",
        "Where you need it: pip install 'pgbench[lsun]'.",
    )
    assert lsun["facts"] == {
        **{"installed": False, "missing": ["none-such"]},
        "install": "pip install 'pgbench[lsun]'",
    }
    assert told(checks["extra-video"]) == ("ok", "installed, for videos", None)
    click = metadata.version("click")
    assert told(checks["extra-unknown"]) == (
        "warning",
        f"click {click} is installed, but pgbench needs >=99",
        "pip install 'pgbench[unknown]' --upgrade mends it.",
    )


@pytest.mark.parametrize("broken", ["packaging", "platformdirs", "pydantic", "scipy", "skimage"])
def test_a_broken_package_is_told_and_hides_nothing_else(place, broken):
    text = f"""
import sys, pathlib
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "{broken}":
            raise OSError("lib{broken}.so: \\x1b[2J cannot open\\nshared object")
sys.meta_path.insert(0, Broken())
sys.argv = ["pgbench", "doctor"]
from pgbench.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"lib{broken}.so: [2J cannot open shared object" in done.stdout
    assert "threads" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-1].endswith("warnings.")


def test_nothing_raises_where_folders_cannot_be_read(place, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "somewhere")

    (place / "work" / "results").mkdir()
    for module, name in ((os, "scandir"), (os, "listdir"), (builtins, "open"), (os, "open")):
        monkeypatch.setattr(module, name, refused)
    found = to_json(examine(place / "work"))
    monkeypatch.undo()
    assert found["state"] == "problem"
    assert {"python", "cache", "results"} <= {each["name"] for each in found["checks"]}
