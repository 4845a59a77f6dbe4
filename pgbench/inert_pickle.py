"""Reads a pickle without loading it: what would be a call becomes a record of the call.

No pickle is ever loaded: the opcodes of protocols 0 to 5 are walked by a small stack machine that
imports nothing, calls nothing and sets no attribute. Names of functions and classes are only
compared with those that the caller allows. Python's unpickler, even restricted, would let a file
change the attributes of what it may name, ask for a memo of gigabytes in ten bytes, and hash
tuples nested deeply enough to end the process.
"""

import codecs
import pickle  # the names of its opcodes; nothing of it is called
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

_MAX_LINE = 200  # of numbers and names; text may be as long as the file
_MAX_INT_BYTES = 8
_NAMES = {
    value: name
    for name, value in vars(pickle).items()
    if name.isupper() and isinstance(value, bytes) and len(value) == 1
}


class RefusedPickle(ValueError):
    """Why a pickle is not read, as part of a sentence that begins with "it"."""


@dataclass(frozen=True, eq=False, slots=True)
class Global:
    """The name of a function or class, "module name", which is never looked up."""

    name: str


@dataclass(eq=False, repr=False, slots=True)
class Call:
    """A call that a pickle asks for and does not get, and the state meant for its result."""

    function: str
    arguments: Any
    state: Any = None


def read_inert(file: BinaryIO, *, num_bytes: int, max_opcodes: int, allowed: frozenset[str]) -> Any:
    """The value pickled in the first `num_bytes` of `file`, of plain values, Global and Call.

    Text of Python 2 comes as str, its bytes as latin-1. RefusedPickle says why not; wrong streams
    may raise other exceptions than OSError, too.
    """
    stream, machine = _Stream(file, num_bytes), _Machine(allowed)
    for _ in range(max_opcodes):
        opcode = stream.take(1)
        if opcode == pickle.STOP:
            return machine.pop()
        machine.do(opcode, stream)
    raise RefusedPickle(f"it has more than {max_opcodes:,} parts")


class _Stream:
    """The bytes of a file, as many as it has."""

    def __init__(self, file: BinaryIO, num_bytes: int) -> None:
        self._file = file
        self._left = num_bytes

    def take(self, count: int) -> bytes:
        """The next `count` bytes; nothing is allocated for more than there are."""
        if count < 0:
            raise RefusedPickle("it has a part of negative length")
        data = self._file.read(count) if count <= self._left else b""
        if len(data) != count:
            raise RefusedPickle("it ends too early")
        self._left -= count
        return data

    def number(self, layout: str) -> Any:
        """The next number, little-endian as struct writes `layout`."""
        return struct.unpack(f"<{layout}", self.take(struct.calcsize(f"<{layout}")))[0]

    def counted(self, layout: str) -> bytes:
        """Bytes behind their number."""
        return self.take(self.number(layout))

    def line(self) -> bytes:
        """The bytes up to the end of the line, and past it."""
        line = self._file.readline(self._left)
        if not line.endswith(b"\n"):
            raise RefusedPickle("it ends too early")
        self._left -= len(line)
        return line[:-1]

    def short_line(self) -> str:
        """A line of ASCII that holds a number or a name."""
        line = self.line()
        if len(line) > _MAX_LINE:
            raise RefusedPickle("it has too long a name or number")
        return line.decode("ascii")


def _int_line(stream: _Stream) -> int:
    """Protocol 0 writes booleans as 00 and 01, Python 2 its long integers with an L."""
    text = stream.short_line()
    if text in ("00", "01"):
        return text == "01"
    number = int(text.removesuffix("L"))
    if number.bit_length() >= 8 * _MAX_INT_BYTES:
        raise RefusedPickle("it has an integer of more than 64 bits")
    return number


def _long(stream: _Stream, layout: str) -> int:
    data = stream.counted(layout)
    if len(data) > _MAX_INT_BYTES:
        raise RefusedPickle("it has an integer of more than 64 bits")
    return int.from_bytes(data, "little", signed=True)


def _quoted(stream: _Stream) -> str:
    """A string of Python 2 as its repr shows it."""
    line = stream.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise RefusedPickle("it has a string without quotes")
    text: bytes = codecs.escape_decode(line[1:-1])[0]
    return text.decode("latin-1")


def _utf8(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


_VALUES: dict[bytes, Callable[[_Stream], Any]] = {
    pickle.NONE: lambda _: None,
    pickle.NEWTRUE: lambda _: True,
    pickle.NEWFALSE: lambda _: False,
    pickle.INT: _int_line,
    pickle.LONG: _int_line,
    pickle.BININT: lambda s: s.number("i"),
    pickle.BININT1: lambda s: s.number("B"),
    pickle.BININT2: lambda s: s.number("H"),
    pickle.LONG1: lambda s: _long(s, "B"),
    pickle.LONG4: lambda s: _long(s, "i"),
    pickle.FLOAT: lambda s: float(s.short_line()),
    pickle.BINFLOAT: lambda s: struct.unpack(">d", s.take(8))[0],
    pickle.STRING: _quoted,
    pickle.BINSTRING: lambda s: s.counted("i").decode("latin-1"),
    pickle.SHORT_BINSTRING: lambda s: s.counted("B").decode("latin-1"),
    pickle.UNICODE: lambda s: s.line().decode("raw-unicode-escape"),
    pickle.SHORT_BINUNICODE: lambda s: _utf8(s.counted("B")),
    pickle.BINUNICODE: lambda s: _utf8(s.counted("I")),
    pickle.BINUNICODE8: lambda s: _utf8(s.counted("Q")),
    pickle.SHORT_BINBYTES: lambda s: s.counted("B"),
    pickle.BINBYTES: lambda s: s.counted("I"),
    pickle.BINBYTES8: lambda s: s.counted("Q"),
    pickle.BYTEARRAY8: lambda s: s.counted("Q"),
    pickle.EMPTY_TUPLE: lambda _: (),
    pickle.EMPTY_LIST: lambda _: [],
    pickle.EMPTY_DICT: lambda _: {},
}


class _Machine:
    """The stack of a pickle, for those opcodes that plain values, arrays and records need."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def do(self, opcode: bytes, stream: _Stream) -> None:
        """Follow one opcode, whose argument is next in `stream`."""
        if opcode in _VALUES:
            self._stack.append(_VALUES[opcode](stream))
        elif not (self._remember(opcode, stream) or self._name(opcode, stream)):
            self._combine(opcode)

    def pop(self) -> Any:
        """Take what lies on top."""
        return self._top(1)[0]

    def _remember(self, opcode: bytes, stream: _Stream) -> bool:
        """Whether it was an opcode of the memo, of marks or of no effect."""
        match opcode:
            case pickle.PUT | pickle.BINPUT | pickle.LONG_BINPUT | pickle.MEMOIZE:
                self._memo[self._place(opcode, stream)] = self._stack[-1]
            case pickle.GET | pickle.BINGET | pickle.LONG_BINGET:
                self._stack.append(self._memo[self._place(opcode, stream)])
            case pickle.MARK:
                self._marks.append(len(self._stack))
            case pickle.PROTO:
                stream.number("B")
            case pickle.FRAME:
                stream.number("Q")  # how much to read at once: every part is bounded by itself
            case _:
                return False
        return True

    def _place(self, opcode: bytes, stream: _Stream) -> int:
        match opcode:
            case pickle.PUT | pickle.GET:
                return int(stream.short_line())
            case pickle.BINPUT | pickle.BINGET:
                return int(stream.number("B"))
            case pickle.LONG_BINPUT | pickle.LONG_BINGET:
                return int(stream.number("I"))
        return len(self._memo)

    def _name(self, opcode: bytes, stream: _Stream) -> bool:
        """Whether it was an opcode that names a function or class."""
        match opcode:
            case pickle.GLOBAL:
                self._stack.append(self._global(stream.short_line(), stream.short_line()))
            case pickle.STACK_GLOBAL:
                self._stack.append(self._global(*self._top(2)))
            case pickle.INST:  # a class of old style, its arguments above the mark
                name = self._global(stream.short_line(), stream.short_line()).name
                self._stack.append(Call(name, tuple(self._top())))
            case _:
                return False
        return True

    def _global(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedPickle("it names a function by something else than text")
        if f"{module} {name}" not in self._allowed:
            wanted = ascii(f"{module}.{name}"[:_MAX_LINE])[1:-1]
            raise RefusedPickle(f"it asks for {wanted}, which is never run")
        return Global(f"{module} {name}")

    def _combine(self, opcode: bytes) -> None:
        """Make one value of those on top of the stack."""
        match opcode:
            case pickle.TUPLE:
                self._stack.append(tuple(self._top()))
            case pickle.TUPLE1 | pickle.TUPLE2 | pickle.TUPLE3:
                self._stack.append(tuple(self._top(1 + b"\x85\x86\x87".index(opcode))))
            case pickle.LIST | pickle.DICT:
                items = self._top()
                self._stack.append(items if opcode == pickle.LIST else _pairs(items))
            case pickle.APPEND | pickle.APPENDS:
                items = self._top(1 if opcode == pickle.APPEND else None)
                self._below(list).extend(items)
            case pickle.SETITEM | pickle.SETITEMS:
                items = self._top(2 if opcode == pickle.SETITEM else None)
                self._below(dict).update(_pairs(items))
            case pickle.REDUCE | pickle.NEWOBJ:
                self._call(*self._top(2))
            case pickle.OBJ:  # a class of old style and its arguments, above the mark
                function, *arguments = self._top()
                self._call(function, tuple(arguments))
            case pickle.BUILD:
                self._build(self.pop())
            case _:
                name = _NAMES.get(opcode, f"0x{opcode.hex()}")
                raise RefusedPickle(f"it has the opcode {name}, which is never followed")

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Global):
            raise RefusedPickle("it calls something else than a function it names")
        self._stack.append(Call(function.name, arguments))

    def _build(self, state: Any) -> None:
        call = self._below(Call)
        if call.state is not None:
            raise RefusedPickle("it sets the state of an object twice")
        call.state = state

    def _below(self, kind: type) -> Any:
        """What now lies on top, which must be of this kind."""
        value = self._stack[-1]
        if type(value) is not kind:
            raise RefusedPickle(f"it changes a {type(value).__name__} as if it were another object")
        return value

    def _top(self, count: int | None = None) -> list[Any]:
        """Take what lies above the last mark, or the last `count` values."""
        start = self._marks.pop() if count is None else len(self._stack) - count
        if start < 0:
            raise RefusedPickle("it takes more than it has")
        items = self._stack[start:]
        del self._stack[start:]
        return items


def _pairs(items: list[Any]) -> dict[str, Any]:
    """Keys and values in turn; only text is hashed."""
    if len(items) % 2 or not all(type(key) is str for key in items[::2]):
        raise RefusedPickle("it has a dictionary with keys that are no text")
    return dict(zip(items[::2], items[1::2], strict=True))
