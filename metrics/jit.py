"""How loops that NumPy is slow at become machine code (numba).

Modules that use it are imported where they are called, for importing numba takes a while.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function when it is first called, to run without holding the interpreter's lock.

    The machine code is kept beside the source, or in the user's cache folder.
    """
    try:
        fast: Callable[P, R] = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither folder can be written
        fast = njit(nogil=True)(function)
    return fast
