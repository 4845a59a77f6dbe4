"""Released network pickles give arrays and arguments, and nothing else of them is kept or run."""

import contextlib
import hashlib
import os
import pickle
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pgbench import official_pickle
from pgbench.official_pickle import read_release

RNG = np.random.default_rng(5)
ARRAYS = {
    "lod": np.float32(1.5),
    "4x4/Conv/weight": RNG.standard_normal((3, 3, 2, 4), np.float32),
    "4x4/Conv/bias": RNG.standard_normal(4, np.float32),
    "half": RNG.standard_normal((2, 3)).astype(np.float16),
    "double": RNG.standard_normal((3, 2)).T,  # in Fortran's order
    "big-endian": np.arange(5, dtype=">i4"),
    "unsigned": np.arange(5, dtype=np.uint8),
    "truth": np.array([True, False]),
    "none": np.zeros((0, 3), np.float32),
    "one": np.array(2.5),
}
KWARGS = {"resolution": 16, "fmap_base": 32.0, "use_wscale": True, "dtype": "float32", "x": None}
SOURCE = "raise SystemExit('this source must not run')"


class Network:
    """Pickled as the released objects are: by the name `tfutil Network`."""

    __module__, __qualname__ = "tfutil", "Network"

    def __init__(self, state: Any) -> None:
        self.state = state

    def __getstate__(self) -> Any:
        return self.state


@pytest.fixture(autouse=True)
def _tfutil(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `tfutil` with the class, for the writer only."""
    module = ModuleType("tfutil")
    module.Network = Network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tfutil", module)


def state(name: str = "G") -> dict[str, Any]:
    return {
        "version": 2,
        "name": name,
        "static_kwargs": KWARGS,
        "build_module_src": SOURCE,
        "build_func_name": "G_paper",
        "variables": list(ARRAYS.items()),
    }


def release(**changes: Any) -> tuple[Network, Network, Network]:
    """What a file holds; `changes` are of G's state."""
    return Network(state() | changes), Network(state("D")), Network(state("Gs"))


def written(folder: Path, content: Any, protocol: int = 2) -> Path:
    stream = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
    path = folder / "network.pkl"
    path.write_bytes(stream)
    return path


def old_numpy(stream: bytes) -> bytes:
    """With the module names of NumPy 1, whatever protocol names them."""
    for name in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + name, b"numpy.core." + name
        stream = stream.replace(b"\x8c%c" % len(new) + new, b"\x8c%c" % len(old) + old)
        stream = stream.replace(b"c" + new + b"\n", b"c" + old + b"\n")
    return stream


def python2(value: Any) -> bytes:
    """Protocol 2 as Python 2 with NumPy 1 writes it: byte strings, and none that is text."""
    match value:
        case Network():
            return b"ctfutil\nNetwork\n)\x81" + python2(value.state) + b"b"
        case str() | bytes():
            data = value.encode() if isinstance(value, str) else value
            return b"T" + struct.pack("<i", len(data)) + data
        case None | bool():
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return b"J" + struct.pack("<i", value)
        case float():
            return b"G" + struct.pack(">d", value)
        case tuple() | list():
            items = b"".join(map(python2, value))
            return b"(" + items + b"t" if isinstance(value, tuple) else b"](" + items + b"e"
        case dict():
            return b"}(" + b"".join(python2(x) for pair in value.items() for x in pair) + b"u"
    code = python2(value.dtype.str[1:])
    order = python2(value.dtype.str[:1])
    dtype = b"cnumpy\ndtype\n" + code + b"K\x00K\x01\x87R(K\x03" + order + b"NNN"
    dtype += python2(-1) + python2(-1) + b"K\x00tb"
    if isinstance(value, np.generic):
        return b"cnumpy.core.multiarray\nscalar\n" + dtype + python2(value.tobytes()) + b"\x86R"
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    fortran = not value.flags.c_contiguous
    content = value.tobytes("F" if fortran else "C")
    return head + python2(value.shape) + dtype + python2(fortran) + python2(content) + b"tb"


WRITERS = {
    **{f"protocol {k}": lambda value, k=k: pickle.dumps(value, k) for k in range(6)},
    **{
        f"protocol {k}, NumPy 1": lambda value, k=k: old_numpy(pickle.dumps(value, k))
        for k in range(6)
    },
    "Python 2": lambda value: b"\x80\x02" + python2(value) + b".",
}


def refused(path: Path, why: str) -> None:
    """In one sentence that names the file."""
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        read_release(path)
    said = str(refusal.value)
    assert said.startswith(f"{path} ") or f"no file {path};" in said
    assert why in said
    assert len(said) < len(str(path)) + 400
    assert "\n" not in said


class TestReading:
    @pytest.mark.parametrize("writer", WRITERS)
    def test_arrays_and_arguments(self, writer: str, tmp_path: Path) -> None:
        stream = WRITERS[writer](release())
        assert ("NumPy 1" in writer or writer == "Python 2") == (b"numpy._core" not in stream)
        read = read_release(written(tmp_path, stream))
        assert [read.G.name, read.D.name, read.Gs.name] == ["G", "D", "Gs"]
        assert read.G.static_kwargs == KWARGS
        assert read.sha256 == hashlib.sha256(stream).hexdigest()
        assert list(read.G.variables) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert read.G.variables[name].dtype == array.dtype
            assert read.G.variables[name].shape == array.shape
            np.testing.assert_array_equal(read.G.variables[name], array)

    def test_numpy_arguments_are_plain(self, tmp_path: Path) -> None:
        kwargs = {"resolution": np.int64(16), "use_wscale": np.bool_(True)}
        read = read_release(written(tmp_path, release(static_kwargs=kwargs)))
        assert read.G.static_kwargs == {"resolution": 16, "use_wscale": True}
        assert type(read.G.static_kwargs["resolution"]) is int

    def test_source_is_not_kept(self, tmp_path: Path) -> None:
        read = read_release(written(tmp_path, release()))
        assert SOURCE not in repr([vars(each) for each in (read.G, read.D, read.Gs)])

    def test_python_loads_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = written(tmp_path, release())
        for name in ("load", "loads", "Unpickler"):
            monkeypatch.delattr(pickle, name)
        monkeypatch.delitem(sys.modules, "tfutil")
        assert read_release(path).G.name == "G"
        assert "tfutil" not in sys.modules


class Calls:
    """Pickled as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


class TestAttacks:
    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize("place", ["top", "state", "source", "kwargs", "array", "name"])
    def test_run_nothing(self, place: str, protocol: int, tmp_path: Path) -> None:
        call = Calls(os.system, f"touch {tmp_path / 'ran'}")
        content: Any = {
            "top": call,
            "state": (Network(call), Network(state()), Network(state())),
            "source": release(build_module_src=call),
            "kwargs": release(static_kwargs={"resolution": call}),
            "array": release(variables=[("lod", call)]),
            "name": release(variables=[(call, ARRAYS["lod"])]),
        }[place]
        refused(written(tmp_path, content, protocol), f"it asks for {os.system.__module__}.system")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "name",
        [
            "numpy load",
            "numpy fromfile",
            "numpy.core.multiarray fromstring",
            "numpy.core.multiarray frombuffer",
            "builtins eval",
            "builtins getattr",
            "copyreg add_extension",
            "dnnlib.tflib.network Network",
            "tfutil run",
        ],
    )
    def test_other_globals_are_named(self, name: str, tmp_path: Path) -> None:
        named = name.replace(" ", ".")
        short = [b"\x8c%c" % len(part) + part.encode() for part in name.split()]
        refused(written(tmp_path, b"\x80\x04" + b"".join(short) + b"\x93."), f"asks for {named},")
        line = name.replace(" ", "\n").encode()
        refused(written(tmp_path, b"\x80\x02c" + line + b"\n."), f"asks for {named},")

    @pytest.mark.parametrize(
        ("array", "why"),
        [
            (np.array([None, "a"]), "variable lod is of a type other than plain numbers"),
            (np.zeros(2, "f4,i4"), "variable lod is of a type other than plain numbers"),
            (np.zeros(2, np.dtype("f4", metadata={"a": 1})), "variable lod is of a type"),
            (np.array(["text"]), "variable lod is of a type other than plain numbers"),
            (np.zeros(2, complex), "variable lod is of a type other than plain numbers"),
            (np.zeros(2, np.longdouble), "variable lod is of a type other than plain numbers"),
            (np.zeros(2, "M8[s]"), "variable lod is of a type other than plain numbers"),
            (np.zeros((1,) * 5), "variable lod has no shape of up to 4 numbers"),
            ([1.0, 2.0], "variable lod is no array"),
            (1.5, "variable lod is no array"),
            (None, "variable lod is no array"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:metadata on a dtype:UserWarning")
    def test_other_arrays(self, array: Any, why: str, tmp_path: Path) -> None:
        refused(written(tmp_path, release(variables=[("lod", array)])), why)

    @pytest.mark.parametrize(
        ("shape", "why"),
        [
            ((2**40,), "variable lod needs more bytes than the file has"),
            ((2**31 - 1, 2**31 - 1, 2**31 - 1), "needs more bytes than the file has"),
            ((3,), "variable lod needs 12 bytes and has 8"),
            ((1,), "variable lod needs 4 bytes and has 8"),
            ((), "variable lod needs 4 bytes and has 8"),
            ((-1, -2), "variable lod has no shape"),
            ((True, 2), "variable lod has no shape"),
            ((2.0,), "variable lod has no shape"),
            (2, "variable lod has no shape"),
            ((2, None), "variable lod has no shape"),
        ],
    )
    def test_shapes_without_their_bytes(self, shape: Any, why: str, tmp_path: Path) -> None:
        class Shaped:
            def __reduce__(self) -> Any:
                function, arguments, (version, _, *rest) = np.zeros(2, np.float32).__reduce__()
                return function, arguments, (version, shape, *rest)

        refused(written(tmp_path, release(variables=[("lod", Shaped())])), why)

    def test_one_array_many_times_is_no_bomb(self, tmp_path: Path) -> None:
        array = np.zeros(100_000, np.float32)
        variables = [(f"v{k}", array) for k in range(5_000)]  # 2 GB by reference
        path = written(tmp_path, release(variables=variables))
        assert path.stat().st_size < 10**6
        refused(path, "variable v1 needs more bytes than the file has")

    def test_damage_anywhere_is_told(self, tmp_path: Path) -> None:
        """A byte changed: read or refused, never another exception."""
        small = Network(state() | {"variables": [("lod", np.float32(0)), ("b", np.ones(2))]})
        stream = pickle.dumps((small, small, small), 2)
        path = tmp_path / "network.pkl"
        for position in range(len(stream)):
            for change in (1, 0x80):
                damaged = bytearray(stream)
                damaged[position] ^= change
                path.write_bytes(damaged)
                with contextlib.suppress(ValueError):
                    read_release(path)

    @pytest.mark.parametrize("protocol", [0, 2, 4])
    def test_truncated_anywhere(self, protocol: int, tmp_path: Path) -> None:
        small = Network(state() | {"variables": [("lod", np.float32(0))]})
        stream = pickle.dumps((small, small, small), protocol)
        for length in range(0, len(stream) - 1, 3):
            refused(written(tmp_path, stream[:length]), "is refused as a network pickle: it ")


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "it ends too early"),
            (b"PK\x03\x04", "it "),
            ([1, 2, 3], "it holds no tuple (G, D, Gs)"),
            ((1, 2), "it holds no tuple (G, D, Gs)"),
            ((1, 2, 3), "one of (G, D, Gs) is no tfutil.Network with a state"),
            (tuple(np.zeros(2) for _ in range(3)), "one of (G, D, Gs) is no tfutil.Network"),
            (b"ctfutil\nNetwork\n" * 3 + b"\x87.", "one of (G, D, Gs) is no tfutil.Network"),
        ],
    )
    def test_other_content(self, content: Any, why: str, tmp_path: Path) -> None:
        refused(written(tmp_path, content), why)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"version": 1}, "network G is of version 1 instead of 2"),
            ({"version": "2"}, "a network lacks its version, name, static_kwargs or variables"),
            ({"name": None}, "a network lacks its version, name"),
            ({"name": "n" * 101}, "that is too long or no ASCII"),
            ({"name": "a\nb"}, r"it has a name 'a\nb' that is too long or no ASCII"),
            ({"static_kwargs": []}, "a network lacks its version, name, static_kwargs"),
            ({"static_kwargs": {"a": [1]}}, "argument a is no number or text"),
            ({"static_kwargs": {"a": np.zeros(2)}}, "argument a is an array"),
            ({"static_kwargs": {"a": "é"}}, "that is too long or no ASCII"),
            ({"variables": {}}, "a network lacks its version, name, static_kwargs or variables"),
            ({"variables": [("a",)]}, "are no pairs of different names and arrays"),
            ({"variables": [(1, np.zeros(2))]}, "are no pairs of different names and arrays"),
            ({"variables": [("a", np.ones(2))] * 2}, "are no pairs of different names and arrays"),
        ],
    )
    def test_other_states(self, changes: dict[str, Any], why: str, tmp_path: Path) -> None:
        refused(written(tmp_path, release(**changes)), why)

    def test_no_file(self, tmp_path: Path) -> None:
        refused(tmp_path / "nope.pkl", "there is no file ")
        refused(tmp_path, "there is no file ")

    def test_too_large_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "large.pkl"
        with path.open("wb") as file:
            file.truncate(2**30 + 1)
        refused(path, "has 1,073,741,825 bytes, more than the 1,073,741,824 that networks may have")

    def test_too_many_parts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(official_pickle, "_MAX_OPCODES", 20)
        refused(written(tmp_path, release()), "it has more than 20 parts")
