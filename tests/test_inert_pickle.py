"""Pickles are read as values and records of calls; nothing in them is run, changed or obeyed."""

import io
import os
import pickle
import struct
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from pgbench.inert_pickle import Call, Global, RefusedPickle, read_inert

ALLOWED = frozenset({"tfutil Network", "copy_reg _reconstructor", "__builtin__ object"})

VALUES = {
    "a": [1, -2, 3, 2**40, True, None, 0.5],
    "é": ("q'\"\\\n\x00\xff", (), {}),
}
# what Python 2.7.18 wrote for (VALUES, an object of an old-style class with one argument)
PYTHON2 = {
    0: b"((dp0\nS'a'\np1\n(lp2\nI1\naI-2\naL3L\naI1099511627776\naI01\naNaF0.5\nasV\xe9\np3\n(S'q"
    b"\\'\"\\\\\\n\\x00\\xff'\np4\n(t(dp5\ntp6\ns(I7\nitfutil\nNetwork\np8\n(dp9\ng1\nI7\nsS'b'\n"
    b"p10\nS'x'\np11\nsbtp12\n.",
    1: b"(}q\x00(U\x01aq\x01]q\x02(K\x01J\xfe\xff\xff\xffL3L\nI1099511627776\nI01\nNG?\xe0\x00\x00"
    b"\x00\x00\x00\x00eX\x02\x00\x00\x00\xc3\xa9q\x03(U\x07q'\"\\\n\x00\xffq\x04)}q\x05tq\x06u("
    b"ctfutil\nNetwork\nq\x08K\x07oq\t}q\n(h\x01K\x07U\x01bq\x0bU\x01xq\x0cubtq\r.",
    2: b"\x80\x02}q\x00(U\x01aq\x01]q\x02(K\x01J\xfe\xff\xff\xff\x8a\x01\x03I1099511627776\n\x88NG?"
    b"\xe0\x00\x00\x00\x00\x00\x00eX\x02\x00\x00\x00\xc3\xa9q\x03U\x07q'\"\\\n\x00\xffq\x04)}q\x05"
    b"\x87q\x06u(ctfutil\nNetwork\nq\x08K\x07oq\t}q\n(h\x01K\x07U\x01bq\x0bU\x01xq\x0cub\x86q\r.",
}
# and for an object of a new-style class with b = 1
PYTHON2_NEW = {
    0: b"ccopy_reg\n_reconstructor\np1\n(ctfutil\nNetwork\np2\nc__builtin__\nobject\np3\nNtRp4\n("
    b"dp5\nS'b'\nI1\nsb.",
    1: b"ccopy_reg\n_reconstructor\nq\x01(ctfutil\nNetwork\nq\x02c__builtin__\nobject\nq\x03NtRq"
    b"\x04}q\x05U\x01bK\x01sb.",
    2: b"\x80\x02ctfutil\nNetwork\nq\x01)\x81q\x02}q\x03U\x01bK\x01sb.",
}


def read(stream: bytes, *, max_opcodes: int = 10**6) -> Any:
    return read_inert(
        io.BytesIO(stream), num_bytes=len(stream), max_opcodes=max_opcodes, allowed=ALLOWED
    )


class Calls:
    """Pickled as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_read(protocol: int) -> None:
    value = VALUES | {"long": [2**31, -(2**31), -(2**62), 65535, 256], "none": [(1,), (1, 2), ()]}
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(3, 6))
def test_bytes_are_read(protocol: int) -> None:
    value = [b"\x00\xff", b"a" * 300, bytes(70_000)]
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", PYTHON2)
def test_python2_is_read(protocol: int) -> None:
    values, network = read(PYTHON2[protocol])
    assert values == VALUES
    assert (network.function, network.arguments) == ("tfutil Network", (7,))
    assert network.state == {"a": 7, "b": "x"}


@pytest.mark.parametrize("protocol", PYTHON2_NEW)
def test_python2_objects_are_records(protocol: int) -> None:
    network = read(PYTHON2_NEW[protocol])
    assert isinstance(network, Call)
    assert network.state == {"b": 1}
    if protocol < 2:
        named = [each.name if isinstance(each, Global) else each for each in network.arguments]
        assert named == ["tfutil Network", "__builtin__ object", None]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "attack",
    [
        lambda mark: Calls(os.system, f"touch {mark}"),
        lambda mark: Calls(Path.touch, mark),
        lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: {"deep": [(Calls(exec, f"open({str(mark)!r}, 'w')"),)]},
        lambda mark: Calls(getattr, "a", "upper"),
        lambda mark: OrderedDict(a=1),
        lambda mark: {1, 2},
        lambda mark: print,
        lambda mark: io.BytesIO,
    ],
)
def test_nothing_is_called(attack: Any, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    stream = pickle.dumps(attack(mark), protocol)
    with pytest.raises(RefusedPickle, match=r"^it (asks for|has the opcode) "):
        read(stream)
    assert not mark.exists()


def test_a_refused_global_is_named() -> None:
    with pytest.raises(RefusedPickle, match=r"it asks for \w+\.system, which"):
        read(pickle.dumps(Calls(os.system, "true")))
    with pytest.raises(RefusedPickle, match=r"it asks for builtins\.eval, which"):
        read(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.")


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nError: second", "\0", "é"])
def test_a_name_cannot_write_to_the_terminal(name: str) -> None:
    given = name.encode()
    with pytest.raises(RefusedPickle) as refused:
        read(b"\x80\x04\x8c\x01m\x8c" + bytes([len(given)]) + given + b"\x93.")
    assert str(refused.value).isascii()
    assert str(refused.value).isprintable()


def test_nothing_is_imported() -> None:
    """Not even what is allowed: importing runs code."""
    assert read(b"ctfutil\nNetwork\n.").name == "tfutil Network"
    assert "tfutil" not in sys.modules


NETWORK = b"ctfutil\nNetwork\n"


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        # what an allowed name is must not be changed
        (NETWORK + b"}X\x08\x00\x00\x00__init__K\x01sb.", "it changes a Global as if"),
        (NETWORK + b"N}X\x0c\x00\x00\x00__setstate__K\x01s\x86b.", "it changes a Global as if"),
        (NETWORK + b"]b.", "it changes a Global as if"),
        (b"]}b.", "it changes a list as if"),
        (b"K\x01K\x02a.", "it changes a int as if"),
        (NETWORK + b"K\x01K\x02s.", "it changes a Global as if"),
        (NETWORK + b")\x81K\x01a.", "it changes a Call as if"),
        (NETWORK + b")\x81K\x01bK\x02b.", "it sets the state of an object twice"),
        # calls of what was not named
        (b"K\x01)R.", "it calls something else than a function it names"),
        (NETWORK + b")\x81)R.", "it calls something else than a function it names"),
        (b"U\x02os)\x81.", "it calls something else than a function it names"),
        (b"\x80\x04K\x01\x8c\x04eval\x93.", "it names a function by something else than text"),
        (b"\x80\x04" + NETWORK + NETWORK + b"\x93.", "it names a function by something else"),
        (b"(ios\nsystem\n.", "it asks for os.system, which"),
        (b"cos\nsystem\n.", "it asks for os.system, which"),
        (b"c" + b"o" * 300 + b"\nsystem\n.", "it has too long a name or number"),
        # persistent ids, the registry of extensions, buffers from outside, sets, and the rest
        (b"Pnumber 1\n.", "it has the opcode PERSID"),
        (b"K\x01Q.", "it has the opcode BINPERSID"),
        (b"\x82\x01.", "it has the opcode EXT1"),
        (b"\x83\x01\x00.", "it has the opcode EXT2"),
        (b"\x84\x01\x00\x00\x00.", "it has the opcode EXT4"),
        (NETWORK + b")}\x92.", "it has the opcode NEWOBJ_EX"),
        (b"\x97.", "it has the opcode NEXT_BUFFER"),
        (b"\x8f.", "it has the opcode EMPTY_SET"),
        (b"K\x012.", "it has the opcode DUP"),
        (b"\xfe.", "it has the opcode 0xfe"),
        # more than there is, than fits, or of the wrong kind
        (b"", "it ends too early"),
        (b"K\x01", "it ends too early"),
        (b"cos", "it ends too early"),
        (b"\x8e" + struct.pack("<Q", 2**62) + b"a.", "it ends too early"),
        (b"\x8d" + struct.pack("<Q", 2**40) + b"a.", "it ends too early"),
        (b"T" + struct.pack("<i", -1) + b"a.", "it has a part of negative length"),
        (b"\x8b" + struct.pack("<i", -1) + b"a.", "it has a part of negative length"),
        (b"\x8a\x09" + bytes(9) + b".", "it has an integer of more than 64 bits"),
        (b"L" + b"9" * 30 + b"L\n.", "it has an integer of more than 64 bits"),
        (b"I" + b"9" * 10_000 + b"\n.", "it has too long a name or number"),
        (b"Sabc\n.", "it has a string without quotes"),
        (b"S'\n.", "it has a string without quotes"),
        (b"K\x01\x86.", "it takes more than it has"),
        (b".", "it takes more than it has"),
        (b"}K\x01K\x02s.", "it has a dictionary with keys that are no text"),
        (b"(K\x01d.", "it has a dictionary with keys that are no text"),
    ],
)
def test_hostile_streams_are_refused(stream: bytes, why: str) -> None:
    with pytest.raises(RefusedPickle) as refusal:
        read(stream)
    assert str(refusal.value).startswith(why)


@pytest.mark.parametrize(
    "stream",
    [b"h\x05.", b"g-1\n.", b"t.", b"q\x00.", b"Ione\n.", b"I\xff\n.", b"X\x01\x00\x00\x00\xff."],
)
def test_damaged_streams_raise(stream: bytes) -> None:
    with pytest.raises((LookupError, ValueError)):
        read(stream)


def test_a_huge_place_in_the_memo_takes_no_memory() -> None:
    assert read(b"K\x05r\xff\xff\xff\xff0"[:-1] + b"j\xff\xff\xff\xff\x86.") == (5, 5)


def test_deep_nesting_neither_recurses_nor_is_hashed() -> None:
    nested = b"K\x01" + b"\x85" * 200_000
    value = read(nested + b".")
    for _ in range(200_000):
        (value,) = value
    assert value == 1
    with pytest.raises(RefusedPickle, match="keys that are no text"):
        read(b"}" + nested + b"K\x01s.")
    assert isinstance(read(b"]" * 100_000 + b"a" * 99_999 + b"."), list)
    assert isinstance(read((NETWORK + b")\x81") * 9_999 + b"b" * 9_998 + b"."), Call)


def test_doubling_stays_small() -> None:
    """A tuple of 2**200 numbers by reference is 200 tuples."""
    read(b"\x80\x02K\x01" + b"".join(b"q%ch%c\x86" % (k, k) for k in range(200)) + b".")


def test_a_value_that_holds_itself_is_read() -> None:
    value = read(b"]q\x00h\x00a.")
    assert value[0] is value


def test_parts_are_counted() -> None:
    assert read(b"K\x01.", max_opcodes=2) == 1
    with pytest.raises(RefusedPickle, match="it has more than 1 parts"):
        read(b"K\x01.", max_opcodes=1)


def test_bytes_after_the_end_are_left_alone() -> None:
    assert read(b"K\x01.cos\nsystem\n)R.") == 1
