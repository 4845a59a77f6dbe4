"""How files and failures are named in error messages: always on one line (section 5's inputs)."""

import textwrap
from pathlib import Path

_LONGEST = 200


def shown(name: str | Path) -> str:
    """A file name as it is, or quoted and escaped where it cannot be printed on one line."""
    text = str(name)
    return text if text.isprintable() else ascii(text)


def reason(error: Exception) -> str:
    """What an error of another library says, on one line, or its type where it says nothing."""
    text = str(error.strerror or error) if isinstance(error, OSError) else str(error)
    return textwrap.shorten(text, _LONGEST) or type(error).__name__
