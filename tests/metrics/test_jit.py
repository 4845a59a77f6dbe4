"""Compiled loops where machine code can be kept, and where it cannot."""

import numba

from pgbench.metrics import jit


def double(x):
    return 2 * x


def test_a_compiled_function_does_the_same():
    assert jit.compiled(double)(21) == 42


def test_folders_that_cannot_be_written_do_not_matter(monkeypatch):
    def without_folder(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(jit, "njit", without_folder)
    assert jit.compiled(double)(21) == 42
