"""Seeds, devices and what is noted of a session."""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pgbench.environment import (
    choose_device,
    describe,
    last_data,
    memory_peaks,
    note_session,
    peak_memory_mb,
    seeded,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _global_settings() -> Iterator[None]:
    """Put back what choosing a device changes for the whole process."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    cudnn = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = cudnn


def draws(seed: int, purpose: int) -> list[float]:
    return torch.randn(8, generator=seeded(seed, purpose)).tolist()


def test_every_seed_and_purpose_has_a_stream_of_its_own() -> None:
    assert draws(1, 2) == draws(1, 2)
    streams = [tuple(draws(seed, purpose)) for seed in range(4) for purpose in range(4)]
    assert len(set(streams)) == 16


def test_streams_do_not_depend_on_global_state() -> None:
    before = draws(0, 0)
    torch.manual_seed(5)
    assert draws(0, 0) == before
    state = torch.get_rng_state()
    draws(0, 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_cpu_is_exact_and_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("auto", "cpu"):
        assert choose_device(name) == CPU
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32


def test_measuring_on_a_device_does_not_import_the_compiler() -> None:
    code = "import sys, pgbench.evaluate, pgbench.environment\n"
    code += "pgbench.environment.choose_device('cpu'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout.split()
    assert "torch._inductor" not in done.stdout.split()


def test_cuda_where_there_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="cuda is not available here; take --device cpu or auto"):
        choose_device("cuda")


def test_cuda_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")  # of several processes on one machine
    assert choose_device("auto") == taken[-1] == torch.device("cuda", 3)
    assert choose_device("cpu") == CPU


def test_more_processes_than_devices_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="there are 2 CUDA devices here; start no more processes"):
        choose_device("auto")


def test_tf32_is_used_where_it_is_asked_for_alone() -> None:
    for tf32 in (True, False):
        choose_device("cpu", tf32=tf32)
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == tf32


def test_the_description_names_versions_and_hardware() -> None:
    described = describe(CPU)
    assert json.loads(json.dumps(described)) == described
    packages = described["packages"]
    assert isinstance(packages, dict)
    assert torch.__version__.startswith(str(packages["torch"]))
    assert described["threads"] == torch.get_num_threads()
    assert described["device"]


def test_every_session_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    for data in ("portraits", "a folder"):
        note_session(path, CPU, data=data)
    sessions = json.loads(path.read_text())["sessions"]
    assert [session["data"] for session in sessions] == ["portraits", "a folder"]
    assert sessions[0]["started"].endswith("+00:00")
    assert sessions[0].keys() == {"started", "data", *describe(CPU)}
    assert last_data(path) == "a folder"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sessions": 3}', "[" * 100_000])
def test_a_damaged_note_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "environment.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"environment\.json is damaged; remove it"):
        note_session(path, CPU, data="portraits")
    with pytest.raises(ValueError, match="does not say which data the run used; give --data"):
        last_data(path)


@pytest.mark.parametrize("text", ['{"sessions": []}', '{"sessions": [{}]}', '{"sessions": [1]}'])
def test_a_note_without_data_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "environment.json").write_text(text)
    with pytest.raises(ValueError, match="give --data"):
        last_data(tmp_path / "environment.json")
    with pytest.raises(ValueError, match="give --data"):
        last_data(tmp_path / "none.json")


def test_on_a_gpu_its_memory_is_told_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3_000_000_000)
    peaks = memory_peaks(torch.device("cuda", 0))
    assert list(peaks) == ["peak_memory_mb", "peak_gpu_memory_mb"]
    assert peaks["peak_gpu_memory_mb"] == 3000
    assert list(memory_peaks(CPU)) == ["peak_memory_mb"]


def test_peak_memory_is_in_megabytes() -> None:
    block = bytearray(b"x" * 50_000_000)
    assert 50 < peak_memory_mb() < 50_000
    assert len(block)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other allocator is told")
@pytest.mark.parametrize("large", [False, True])
def test_memory_that_was_freed_is_used_again_without_new_pages(large: bool) -> None:
    code = f"""
import resource
from concurrent.futures import ThreadPoolExecutor

import torch

from pgbench.environment import keep_memory

def touch() -> None:
    kept = [torch.zeros(10_000_000) for _ in range(4)]

keep_memory(large={large})
with ThreadPoolExecutor(1) as other:
    for _ in range(8):
        touch()
        other.submit(touch).result()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        touch()
        other.submit(touch).result()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pages_of_all = 5 * 2 * 4 * 40_000_000 // 4096
    assert int(done.stdout) < pages_of_all / 50
