"""The bar: on a terminal what is done, how fast and how long it will take; elsewhere nothing."""

import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest

from pgbench.cli_progress import progress_bar


@pytest.fixture
def on_terminal(tmp_path):
    """Run `pgbench` with a terminal as its stderr: its exit code, stdout and what was shown."""

    def call(*arguments):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "pgbench", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=theirs,
            cwd=tmp_path,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        ) as process:
            os.close(theirs)
            shown = _all_of(ours)
            out = process.stdout.read().decode()
        return process.returncode, out, shown

    return call


def _all_of(terminal):
    shown = b""
    try:
        while part := os.read(terminal, 2**16):
            shown += part
    except OSError:  # how Linux says that the other end was closed
        pass
    os.close(terminal)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


@pytest.fixture
def images(tmp_path):
    """A set with a name that rich would take for markup."""
    name = "[bold]re[/]al.npy"
    (tmp_path / name).parent.mkdir()
    np.save(tmp_path / name, np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), np.uint8))
    return name


def test_on_a_terminal_the_bar_says_how_far_how_fast_and_how_long(on_terminal, images):
    code, out, shown = on_terminal("metrics", "swd", images, images, "--json")
    assert (code, out.count("\n")) == (0, 1)
    assert f"{images} and {images}" in shown
    last = shown[shown.rindex("100%") :]
    assert re.search(r"100% +[0-9-]+:[0-9-]+(:[0-9-]+)? +[0-9]+ images/s", last)


def test_an_error_follows_the_bar(on_terminal, images):
    code, out, shown = on_terminal("metrics", "msssim", images, "--num-images", 3)
    assert (code, out) == (2, "")
    assert "Error: MS-SSIM compares images in pairs" in shown
    assert "Traceback" not in shown


def test_without_a_terminal_nothing_is_shown(capfd):
    with progress_bar("long work", images=10) as progress:
        for done in range(11):
            progress(done / 10)
    assert capfd.readouterr() == ("", "")
