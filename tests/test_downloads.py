"""Files come whole, checked and resumed, from servers of every kind on this machine."""

import errno
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, MNIST

from pgbench import downloads
from pgbench.downloads import download_cifar10, download_mnist, fetch

DATA = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()


@dataclass
class Server:
    """Serves files from memory, and can be told to misbehave."""

    files: dict[str, bytes] = field(default_factory=lambda: {"/file": DATA})
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes, for the first responses
    says_length: bool = True
    wrong_range: bool = False
    reason: str = "Not\tFound"
    url: str = ""
    asked: list[str | None] = field(default_factory=list)  # the Range of each request

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        data = self.files.get(request.path)
        if data is None:
            request.send_error(404, self.reason)
            return
        start = int(wanted[6:-1]) if wanted and self.ranges else 0
        if start >= len(data):
            request.send_error(416)
            return
        # Before the client knows anything of it: its next request may come at once.
        stop = self.cut_after.pop(0) if self.cut_after else len(data)
        request.send_response(206 if start else 200)
        if start:
            shown = start + 1 if self.wrong_range else start
            request.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}")
        if self.says_length:
            request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        request.wfile.write(data[start : start + stop])


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        http.shutdown()
        thread.join()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.bin"


def left(place: Path) -> set[str]:
    return {path.name for path in place.parent.iterdir()} - {f".{place.name}.lock"}


def refused(server: Server, place: Path, why: str, path: str = "/file", **sums: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        fetch(server.url + path, place, **(sums or {"sha256": SHA256}))
    said = str(caught.value)
    assert why in said
    assert server.url + path in said
    assert str(place) in said
    assert "\n" not in said
    assert not place.exists()


class TestFetch:
    def test_puts_the_file_in_place(self, server: Server, place: Path) -> None:
        assert fetch(f"{server.url}/file", place, sha256=SHA256) == SHA256
        assert place.read_bytes() == DATA
        assert left(place) == {"file.bin"}
        assert server.asked == [None]

    def test_checks_an_md5_too(self, server: Server, place: Path) -> None:
        assert fetch(f"{server.url}/file", place, md5=MD5) == SHA256

    def test_asks_for_nothing_when_it_is_there(self, server: Server, place: Path) -> None:
        for _ in range(2):
            fetch(f"{server.url}/file", place, sha256=SHA256)
        assert len(server.asked) == 1

    def test_leaves_another_file_in_its_place_alone(self, server: Server, place: Path) -> None:
        place.parent.mkdir()
        place.write_bytes(b"mine")
        with pytest.raises(ValueError, match=r"is another file than .*; remove it"):
            fetch(f"{server.url}/file", place, sha256=SHA256)
        assert place.read_bytes() == b"mine"
        assert server.asked == []

    def test_without_a_sum_is_refused(self, server: Server, place: Path) -> None:
        with pytest.raises(ValueError, match="only be fetched with its SHA-256 or MD5"):
            fetch(f"{server.url}/file", place)

    def test_tells_how_far_it_is(self, server: Server, place: Path) -> None:
        told: list[float] = []
        fetch(f"{server.url}/file", place, sha256=SHA256, progress=told.append)
        assert told == sorted(told)
        assert told[-1] == 1

    @pytest.mark.parametrize(
        "sums", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"sha256": SHA256, "md5": "0" * 32}]
    )
    def test_other_bytes_are_thrown_away(
        self, sums: dict[str, str], server: Server, place: Path
    ) -> None:
        refused(server, place, "(other bytes came than expected)", **sums)
        assert left(place) == set()

    def test_a_file_that_is_not_there(self, server: Server, place: Path) -> None:
        refused(server, place, "(the server says 404 Not Found)", "/nope")

    def test_a_server_that_plays_with_the_terminal(self, server: Server, place: Path) -> None:
        server.reason = "Not \x1b[31mFound"
        refused(server, place, r"(the server says 404 'Not \x1b[31mFound')", "/nope")

    def test_a_server_that_is_not_there(self, server: Server, place: Path) -> None:
        server.url = "http://127.0.0.1:9"
        refused(server, place, "Connection refused")

    def test_a_server_that_says_nothing(
        self, server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "_TIMEOUT_SEC", 0.05)
        answered = threading.Event()
        monkeypatch.setattr(server, "answer", lambda request: answered.wait(5))
        refused(server, place, "timed out")
        answered.set()

    def test_a_file_without_an_end(
        self, server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "_MAX_BYTES", 500_000)
        with pytest.raises(ValueError, match="is refused: it has more than 500,000 bytes"):
            fetch(f"{server.url}/file", place, sha256=SHA256)
        assert left(place) == set()

    def test_a_full_disk_is_no_fault_of_the_network(
        self, server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            fetch(f"{server.url}/file", place, sha256=SHA256)
        assert not place.exists()


class TestResume:
    def test_goes_on_by_itself(self, server: Server, place: Path) -> None:
        server.cut_after = [300_000, 200_000]
        assert fetch(f"{server.url}/file", place, sha256=SHA256) == SHA256
        assert server.asked == [None, "bytes=300000-", "bytes=500000-"]

    def test_goes_on_with_the_next_call(self, server: Server, place: Path) -> None:
        server.cut_after = [300_000, 0]
        refused(server, place, "(it broke off after 300,000 of 1,000,000 bytes)")
        assert (place.parent / "file.bin.part").read_bytes() == DATA[:300_000]
        fetch(f"{server.url}/file", place, sha256=SHA256)
        assert server.asked[-1] == "bytes=300000-"
        assert left(place) == {"file.bin"}

    def test_begins_anew_where_the_server_cannot(self, server: Server, place: Path) -> None:
        server.ranges = False
        server.cut_after = [300_000]
        assert fetch(f"{server.url}/file", place, sha256=SHA256) == SHA256
        assert server.asked == [None, "bytes=300000-"]

    def test_ends_when_such_a_server_always_breaks_off(self, server: Server, place: Path) -> None:
        server.ranges = False
        server.cut_after = [300_000] * 9
        refused(server, place, "(it broke off after 300,000 of 1,000,000 bytes)")
        assert len(server.asked) == 2

    def test_ends_after_many_breaks(
        self, server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "_MAX_TRIES", 3)
        server.cut_after = [10] * 9
        refused(server, place, "(it broke off 3 times)")

    def test_begins_anew_after_another_part_than_asked_for(
        self, server: Server, place: Path
    ) -> None:
        server.wrong_range = True
        server.cut_after = [300_000, 0]
        assert fetch(f"{server.url}/file", place, sha256=SHA256) == SHA256
        assert server.asked == [None, "bytes=300000-", None]

    def test_of_what_only_lacked_its_name(self, server: Server, place: Path) -> None:
        place.parent.mkdir()
        (place.parent / "file.bin.part").write_bytes(DATA)
        fetch(f"{server.url}/file", place, sha256=SHA256)
        assert server.asked == []

    def test_of_too_long_a_part(self, server: Server, place: Path) -> None:
        place.parent.mkdir()
        (place.parent / "file.bin.part").write_bytes(DATA + b"?")
        fetch(f"{server.url}/file", place, sha256=SHA256)
        assert server.asked == ["bytes=1000001-", None]

    def test_of_a_wrong_part_fails_once(self, server: Server, place: Path) -> None:
        place.parent.mkdir()
        (place.parent / "file.bin.part").write_bytes(b"wrong")
        refused(server, place, "(other bytes came than expected)")
        assert fetch(f"{server.url}/file", place, sha256=SHA256) == SHA256

    def test_of_a_length_that_was_not_said(self, server: Server, place: Path) -> None:
        server.says_length = False
        server.cut_after = [300_000]
        refused(server, place, "(other bytes came than expected)")


class TestSources:
    @pytest.fixture
    def files(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Four small files in the place of MNIST's, the first mirror without the last one."""
        names = [name for name, _ in MNIST.resources]
        for number, name in enumerate(names):
            server.files[f"/second/{name}"] = DATA[number:1000]
            if name != names[-1]:
                server.files[f"/first/{name}"] = DATA[number:1000]
        sums = [hashlib.md5(DATA[number:1000]).hexdigest() for number in range(len(names))]
        monkeypatch.setattr(MNIST, "mirrors", [f"{server.url}/first/", f"{server.url}/second/"])
        monkeypatch.setattr(MNIST, "resources", list(zip(names, sums, strict=True)))
        return names

    def test_mnist_from_the_first_mirror_that_has_it(
        self, server: Server, files: list[str], tmp_path: Path
    ) -> None:
        told: list[float] = []
        download_mnist(tmp_path, progress=told.append)
        for number, name in enumerate(files):
            assert (tmp_path / name).read_bytes() == DATA[number:1000]
        record = json.loads((tmp_path / "downloads.json").read_text())
        assert list(record) == files
        assert record[files[0]]["url"] == f"{server.url}/first/{files[0]}"
        assert record[files[3]] == {
            "url": f"{server.url}/second/{files[3]}",
            "md5": hashlib.md5(DATA[3:1000]).hexdigest(),
            "sha256": hashlib.sha256(DATA[3:1000]).hexdigest(),
        }
        assert told == [0.25, 0.5, 0.75, 1]

    def test_mnist_from_nowhere(self, server: Server, files: list[str], tmp_path: Path) -> None:
        server.files.clear()
        with pytest.raises(ValueError, match=re.escape(f"/first/{files[0]} could not be fetched")):
            download_mnist(tmp_path)

    def test_cifar10(self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(CIFAR10, "url", f"{server.url}/file")
        monkeypatch.setattr(CIFAR10, "tgz_md5", MD5)
        place = download_cifar10(tmp_path)
        assert place == tmp_path / "cifar-10-python.tar.gz"
        assert place.read_bytes() == DATA
        record = json.loads((tmp_path / "downloads.json").read_text())
        assert record == {place.name: {"url": f"{server.url}/file", "md5": MD5, "sha256": SHA256}}

    def test_torchvision_still_says_where(self) -> None:
        assert len(MNIST.resources) == 4
        assert all(url.startswith("http") for url in [*MNIST.mirrors, CIFAR10.url])
        sums = [*(md5 for _, md5 in MNIST.resources), CIFAR10.tgz_md5]
        assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in sums)
        assert CIFAR10.filename == "cifar-10-python.tar.gz"
