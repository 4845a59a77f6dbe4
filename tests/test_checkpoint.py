"""States survive damage, snapshots are safetensors, and nothing is ever unpickled."""

import errno
import hashlib
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pgbench.checkpoint import (
    load_snapshot,
    load_state,
    previous_state,
    save_snapshot,
    save_state,
)
from pgbench.config import GeneratorConfig
from pgbench.networks import Generator

CPU = torch.device("cpu")
CONFIG = GeneratorConfig(resolution=16, latent_size=8, fmap_base=32, fmap_max=8)


def state(number: int) -> dict[str, Any]:
    return {
        "number": number,
        "lods": (1, 2),
        "weights": {"a": torch.full((3, 5), float(number)), "b": torch.arange(4)},
        "fingerprint": {16: "f", 8: "g"},
        "none": None,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where two states have been saved."""
    path = tmp_path / "training-state.pt"
    for number in (1, 2):
        save_state(path, state(number))
    return path


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


class TestState:
    def test_is_loaded_as_saved(self, path: Path) -> None:
        loaded = load_state(path)
        assert loaded is not None
        for name in ("a", "b"):
            assert torch.equal(loaded["weights"].pop(name), state(2)["weights"][name])
        assert loaded == state(2) | {"weights": {}}

    def test_there_is_none_at_first(self, tmp_path: Path) -> None:
        assert load_state(tmp_path / "training-state.pt") is None

    def test_the_one_before_is_kept_and_no_more(self, path: Path) -> None:
        names = sorted(file.name for file in path.parent.iterdir())
        assert names == ["training-state-previous.pt", "training-state.pt"]
        before = load_state(previous_state(path))
        assert before is not None
        assert before["number"] == 1

    def test_is_sealed_by_the_sha256_of_a_plain_torch_file(self, path: Path) -> None:
        content = path.read_bytes()
        assert hashlib.sha256(content[:-32]).digest() == content[-32:]
        for file in (path, io.BytesIO(content[:-32])):
            plain = torch.load(file, weights_only=True)
            assert torch.equal(plain["weights"]["a"], torch.full((3, 5), 2.0))

    @pytest.mark.parametrize("position", [0, 500, -100, -33, -32, -1])
    def test_a_flipped_bit_falls_back_with_a_warning(
        self, path: Path, position: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        flip(path, position)
        loaded = load_state(path)
        assert loaded is not None
        assert loaded["number"] == 1
        (warning,) = caplog.messages
        assert warning == (
            f"{path} is damaged or missing; going on from training-state-previous.pt"
        )

    def test_a_disk_that_does_not_read_it_falls_back(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = Path.read_bytes

        def damaged(self: Path) -> bytes:
            if self == path:
                raise OSError(errno.EIO, "Input/output error", str(self))
            return real(self)

        monkeypatch.setattr(Path, "read_bytes", damaged)
        loaded = load_state(path)
        assert loaded is not None
        assert loaded["number"] == 1

    def test_a_damaged_one_does_not_take_the_place_of_the_sound_one(self, path: Path) -> None:
        flip(path, 40)
        save_state(path, load_state(path) or {})
        flip(path, 40)
        loaded = load_state(path)
        assert loaded is not None
        assert loaded["number"] == 1

    @pytest.mark.parametrize("size", [0, 1, 31, 32, 100])
    def test_a_torn_file_falls_back(self, path: Path, size: int) -> None:
        path.write_bytes(path.read_bytes()[:size])
        loaded = load_state(path)
        assert loaded is not None
        assert loaded["number"] == 1

    def test_a_kill_between_the_renames_falls_back(self, path: Path) -> None:
        path.replace(previous_state(path))
        loaded = load_state(path)
        assert loaded is not None
        assert loaded["number"] == 2

    def test_both_damaged_is_one_sentence(self, path: Path) -> None:
        flip(path, 40)
        flip(previous_state(path), 40)
        with pytest.raises(ValueError, match=r"every training state in .* is damaged") as caught:
            load_state(path)
        assert str(path.parent) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_full_disk_keeps_the_last_one(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                save_state(path, state(3))
        loaded = load_state(path)
        assert loaded is not None
        assert loaded["number"] == 2
        assert len(list(path.parent.iterdir())) == 2

    @pytest.mark.parametrize("as_torch_file", [True, False])
    def test_a_sealed_pickle_is_never_executed(self, path: Path, as_torch_file: bool) -> None:
        exploded = path.parent / "exploded"

        class Bomb:
            def __reduce__(self) -> tuple[object, ...]:
                return os.system, (f"touch {exploded}",)

        buffer = io.BytesIO()
        if as_torch_file:
            torch.save(Bomb(), buffer)
        else:
            pickle.dump(Bomb(), buffer, protocol=2)
        bomb = buffer.getvalue()
        assert b"system" in bomb
        path.write_bytes(bomb + hashlib.sha256(bomb).digest())
        loaded = load_state(path)
        assert loaded is not None
        assert loaded["number"] == 1
        previous_state(path).unlink()
        path.write_bytes(bomb + hashlib.sha256(bomb).digest())
        with pytest.raises(ValueError, match="is damaged"):
            load_state(path)
        assert not exploded.exists()

    @pytest.mark.parametrize("payload", [b"", b"PK\x05\x06" + bytes(18), b"\x80\x02}q\x00.", b"{}"])
    def test_a_sealed_file_of_something_else_is_damaged(self, path: Path, payload: bytes) -> None:
        path.write_bytes(payload + hashlib.sha256(payload).digest())
        loaded = load_state(path)
        assert loaded is not None
        assert loaded["number"] == 1

    def test_a_sealed_tensor_is_no_state(self, path: Path) -> None:
        buffer = io.BytesIO()
        torch.save(torch.zeros(3), buffer)
        path.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
        loaded = load_state(path)
        assert loaded is not None
        assert loaded["number"] == 1


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    path = tmp_path / "G_ema-000001.0.safetensors"
    save_snapshot(path, Generator(CONFIG), nimg=1000, lod=0.5)
    return path


def refused(path: Path) -> None:
    with pytest.raises(ValueError, match="is no snapshot of pgbench; give a G_ema-") as caught:
        load_snapshot(path, CPU)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class TestSnapshot:
    def test_is_loaded_as_saved_ready_to_sample(self, snapshot: Path) -> None:
        generator, info = load_snapshot(snapshot, CPU)
        assert (info.generator, info.nimg, info.lod) == (CONFIG, 1000, 0.5)
        z = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
        assert torch.equal(generator(z, 0.5), Generator(CONFIG)(z, 0.5))
        assert not generator.training
        assert not any(weight.requires_grad for weight in generator.parameters())

    def test_is_plain_safetensors(self, snapshot: Path) -> None:
        weights, expected = load_file(snapshot), Generator(CONFIG).state_dict()
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)

    def test_the_same_weights_are_the_same_bytes(self, snapshot: Path) -> None:
        again = snapshot.with_name("again")
        save_snapshot(again, Generator(CONFIG), nimg=1000, lod=0.5)
        assert again.read_bytes() == snapshot.read_bytes()

    def test_a_foreign_file_is_told(self, snapshot: Path) -> None:
        save_file({"weight": torch.zeros(3)}, snapshot)
        refused(snapshot)
        save_file({"weight": torch.zeros(3)}, snapshot, {"pgbench": "{"})
        refused(snapshot)

    @pytest.mark.parametrize("size", [0, 7, 100, 5000])
    def test_a_truncated_file_is_told(self, snapshot: Path, size: int) -> None:
        snapshot.write_bytes(snapshot.read_bytes()[:size])
        refused(snapshot)

    def test_a_pickle_is_told(self, snapshot: Path) -> None:
        torch.save(Generator(CONFIG).state_dict(), snapshot)
        refused(snapshot)

    @pytest.mark.parametrize(
        "changes",
        [
            {"generator": {"fmap_max": 4}},
            {"generator": {"resolution": 32}},
            {"generator": {"batch_norm": True}},
            {"generator": {"resolution": 2**20}},
            {"generator": {"latent_size": -1}},
            {"lod": -1.0},
            {"lod": 3.0},
            {"surprise": 1},
            {"nimg": "many"},
        ],
    )
    def test_a_configuration_that_does_not_fit_is_told(
        self, snapshot: Path, changes: dict[str, Any]
    ) -> None:
        info: dict[str, Any] = {"generator": CONFIG.model_dump(), "nimg": 1, "lod": 0.0}
        info["generator"] |= changes.pop("generator", {})
        metadata = {"pgbench": json.dumps(info | changes)}
        save_file(Generator(CONFIG).state_dict(), snapshot, metadata)
        refused(snapshot)

    def test_weights_that_do_not_fit_take_no_memory(self, snapshot: Path) -> None:
        config = CONFIG.model_copy(update={"fmap_base": 2**30, "fmap_max": 2**20})  # 40 TB
        info = {"generator": config.model_dump(), "nimg": 1, "lod": 0.0}
        save_file(Generator(CONFIG).state_dict(), snapshot, {"pgbench": json.dumps(info)})
        refused(snapshot)

    def test_a_missing_file_is_an_os_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            load_snapshot(tmp_path / "none.safetensors", CPU)
