"""The command line: quick to start, one sentence per error, never a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pgbench import checkpoint, cli
from pgbench.checkpoint import load_snapshot
from pgbench.cli_run import parse_seeds
from pgbench.config import RunConfig
from pgbench.data import ImageStore
from pgbench.reproductions.table1 import ROWS, SCALES, row_config
from pgbench.sampling import generate

Command = Callable[..., Any]
DRY = ("run", "ablation", "--dry-run", "--json", "--row")


def refused(ended: Any, why: str) -> None:
    assert (ended.code, ended.out) == (2, "")
    assert why in ended.err
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1


class TestStart:
    def test_help_of_every_verb_imports_nothing_heavy(self, program: Command) -> None:
        text = (
            "import contextlib, io, sys, click\n"
            "from pgbench.cli import cli\n"
            "def verbs(command, path):\n"
            "    yield path\n"
            "    for name, inner in getattr(command, 'commands', {}).items():\n"
            "        yield from verbs(inner, [*path, name])\n"
            "for path in verbs(cli, []):\n"
            "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
            "        cli.main([*path, '--help'], prog_name='pgbench')\n"
            "    print('pgbench', *path)\n"
            "print({'torch', 'pandas', 'pydantic', 'numpy', 'PIL', 'rich'} & set(sys.modules))\n"
        )
        ended = program(text)
        *verbs, heavy = ended.out.splitlines()
        assert ended.err == ""
        assert heavy == "set()"
        assert {"pgbench", "pgbench run ablation", "pgbench data prepare"} <= set(verbs)

    def test_without_arguments_the_help_is_shown(self, pgbench: Command) -> None:
        for group in ((), ("run",), ("data",), ("metrics",)):
            ended = pgbench(*group)
            assert ended.code == 2
            assert "Usage: pgbench" in ended.err
            assert "Commands:" in ended.err

    def test_threads_wait_briefly_unless_the_user_says_otherwise(
        self, pgbench: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GOMP_SPINCOUNT", "7")
        pgbench("--version")
        assert os.environ["GOMP_SPINCOUNT"] == "7"
        monkeypatch.delenv("GOMP_SPINCOUNT")
        pgbench("--version")
        assert int(os.environ["GOMP_SPINCOUNT"]) < 100_000

    def test_the_version(self, pgbench: Command) -> None:
        ended = pgbench("--version")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("pgbench, version ")


ERRORS = [
    (["nope"], "No such command 'nope'"),
    (["run", "nope"], "No such command 'nope'"),
    (["run", "ablation"], "Missing option '--row'"),
    (["run", "ablation", "--row", "x"], "there is no row 'x'; the rows are a, b, c, d, e*, e, f"),
    (["run", "ablation", "--row", "g", "--surprise"], "No such option"),
    (["run", "ablation", "--row", "g", "--profile", "tiny"], "there is no profile 'tiny'; the pro"),
    (["run", "ablation", "--row", "g", "--data", "nope"], "there is no data set 'nope'; the built"),
    (["run", "ablation", "--row", "g", "--device", "tpu"], "'tpu' is not one of"),
    (["run", "ablation", "--row", "g", "--seed", "x"], "'x' is not a valid integer"),
    (["run", "ablation", "--row", "g", "--seed", "-1"], "-1 is not in the range"),
    (["run", "ablation", "--row", "g", "--seed", "2147483648"], "is not in the range"),
    (["run", "ablation", "--row", "g", "--seed", "1", "--seeds", "2"], "--seed or --seeds, not"),
    (["run", "ablation", "--row", "g", "--seeds", "a-b"], "seeds 'a-b' is no list of seeds; write"),
    (["run", "ablation", "--row", "g", "--seeds", "3-1"], "seeds '3-1' are no range"),
    (["run", "ablation", "--row", "g", "--phase-kimg", "0"], "0.0 kimg is no training"),
    (["run", "ablation", "--row", "g", "--phase-kimg", "nan"], "nan kimg is no training"),
    (["run", "ablation", "--row", "g", "--phase-kimg", "inf"], "inf kimg is no training"),
    (["evaluate"], "Missing argument"),
    (["evaluate", "/nowhere"], "/nowhere is no run folder"),
    (["generate", "/nowhere", "--out", "/nowhere/out"], "there is no run or snapshot at /nowhere"),
    (["generate", "/nowhere"], "Missing option '--out'"),
    (["report", "/nowhere"], "/nowhere does not exist"),
    (["data", "prepare", "portraits"], "Missing option '--out'"),
    (["metrics", "swd", "/nowhere", "/nowhere"], "There is no image set at /nowhere"),
]


MEMORY = [
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("could not create a primitive"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    RuntimeError("CUDA error: out of memory"),
]


class TestErrors:
    @pytest.mark.parametrize("error", MEMORY, ids=str)
    def test_too_little_memory_is_one(
        self, pgbench: Command, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(checkpoint, "load_snapshot", fail)
        refused(
            pgbench("generate", __file__, "--out", "there"),
            "there is too little memory for this; ask for fewer or smaller images at once",
        )

    def test_a_bug_is_not_hidden(self, pgbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("shapes cannot be multiplied")

        monkeypatch.setattr(checkpoint, "load_snapshot", fail)
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            pgbench("generate", __file__, "--out", "there")

    def test_are_told_without_a_rank(
        self, pgbench: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        refused(pgbench("data", "inspect", "/nowhere"), "/nowhere")

    @pytest.mark.parametrize(("arguments", "why"), ERRORS, ids=[" ".join(e[0]) for e in ERRORS])
    def test_are_one_line(self, pgbench: Command, arguments: list[str], why: str) -> None:
        refused(pgbench(*arguments), why)

    @pytest.mark.parametrize("row", ["", "A", "aa", "e**", "../a"])
    def test_hostile_rows(self, pgbench: Command, row: str) -> None:
        refused(pgbench(*DRY, row), f"there is no row {row!r}")

    def test_cuda_where_there_is_none(
        self,
        finished: Any,
        pgbench: Command,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        why = "device cuda is not available here; take --device cpu or auto"
        refused(pgbench("evaluate", finished.run, "--device", "cuda"), why)
        refused(pgbench("generate", finished.run, "--device", "cuda", "--out", tmp_path), why)

    def test_of_a_process_have_no_traceback(self) -> None:
        command = [sys.executable, "-m", "pgbench", "run", "ablation", "--row", "x"]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("Error: there is no row 'x'; the rows are a, b, c")
        assert ended.stderr.count("\n") == 1

    def test_a_reader_that_has_gone_is_no_error(self) -> None:
        command = [sys.executable, "-m", "pgbench", "data", "list"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 0

    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (KeyboardInterrupt(), 130, "Interrupted.\n"),
            (ValueError("two\nlines"), 2, "Error: two lines\n"),
            (
                OSError(28, "No space left on device", "/a/b"),
                2,
                "Error: /a/b: No space left on device; make room or choose another place, then "
                "try again\n",
            ),
        ],
    )
    def test_from_inside_a_command(
        self,
        error: BaseException,
        code: int,
        said: str,
        pgbench: Command,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(**_: object) -> None:
            raise error

        monkeypatch.setattr(cli.cli.commands["data"].commands["list"], "callback", fail)  # type: ignore[attr-defined]
        ended = pgbench("data", "list")
        assert (ended.code, ended.out, ended.err) == (code, "", said)

    def test_may_be_traced(self, pgbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGBENCH_TRACEBACK", "1")
        with pytest.raises(ValueError, match="no row 'x'"):
            pgbench(*DRY, "x")


class TestSeeds:
    @pytest.mark.parametrize(
        ("text", "seeds"),
        [
            ("0", [0]),
            ("0-3", [0, 1, 2, 3]),
            ("0,2,5", [0, 2, 5]),
            ("7, 1-2", [7, 1, 2]),
            ("3-3", [3]),
            ("2147483647", [2**31 - 1]),
        ],
    )
    def test_are_lists_and_ranges(self, text: str, seeds: list[int]) -> None:
        assert parse_seeds(text) == seeds

    @pytest.mark.parametrize(
        "text",
        [
            *("", ",", "-", "1-", "-1", "1--2", "a", "1,", "0x1", "1.0", "٣", "²", "1e9"),
            *("9" * 5000, "0-2147483647", "0-10000000", "2147483648", "9-1", "0-9999999,1"),
        ],
    )
    def test_anything_else_is_refused_at_once(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"^seeds '.*write 0-3 or 0,2,5$"):
            parse_seeds(text)


class TestDryRun:
    @pytest.mark.parametrize("row", list(ROWS))
    def test_prints_the_configuration_and_nothing_else(self, pgbench: Command, row: str) -> None:
        ended = pgbench(*DRY, row, "--profile", "smoke", "--seed", "4")
        assert (ended.code, ended.err) == (0, "")
        expected = row_config(
            row,
            profile="smoke",
            dataset="portraits",
            mirror=True,
            num_images=SCALES["smoke"].num_images,
            seed=4,
        )
        assert json.loads(ended.out) == expected.to_json()
        assert RunConfig.model_validate_json(ended.out) == expected

    def test_the_default_is_desktop_with_all_images(self, pgbench: Command) -> None:
        config = json.loads(pgbench(*DRY, "g").out)
        assert (config["profile"], config["seed"]) == ("desktop", 0)
        assert config["data"]["num_images"] is None

    def test_e_star_is_the_same_as_e_asterisk(self, pgbench: Command) -> None:
        one, two = pgbench(*DRY, "e-star"), pgbench(*DRY, "e*")
        assert one == two
        assert json.loads(one.out)["row"] == "e*"

    def test_several_seeds_and_rows_are_a_list(self, pgbench: Command) -> None:
        listed = json.loads(pgbench(*DRY, "g", "--seeds", "0-3").out)
        assert [config["seed"] for config in listed] == [0, 1, 2, 3]
        rows = [config["row"] for config in json.loads(pgbench(*DRY, "all").out)]
        assert rows == ["a", "b", "c", "d", "e*", "e", "f", "g", "h"]
        both = json.loads(pgbench(*DRY, "all", "--seeds", "1,0").out)
        assert [(config["seed"], config["row"]) for config in both] == [
            (seed, row) for seed in (1, 0) for row in rows
        ]

    def test_phase_kimg_sets_both_halves(self, pgbench: Command) -> None:
        schedule = json.loads(pgbench(*DRY, "g", "--phase-kimg", "0.5").out)["schedule"]
        assert (schedule["train_kimg"], schedule["fade_kimg"]) == (0.5, 0.5)

    def test_a_store_gives_its_name_and_mirroring(
        self, pgbench: Command, tiny_store: ImageStore
    ) -> None:
        config = json.loads(pgbench(*DRY, "g", "--data", tiny_store.path).out)
        assert config["data"] == {
            **{"name": "tiny", "mirror": True, "num_images": None},
            "resolution": SCALES["desktop"].resolution,
        }

    def test_without_json_it_is_a_line_per_run(self, pgbench: Command) -> None:
        ended = pgbench("run", "ablation", "--row", "all", "--profile", "paper", "--dry-run")
        lines = ended.out.splitlines()
        assert len(lines) == 9
        assert lines[4].startswith("table1-e-star-portraits-paper-s0-")
        assert lines[8].endswith("  128²  19000 kimg")

    def test_writes_nothing(
        self, pgbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        pgbench(*DRY, "all")
        assert list(tmp_path.iterdir()) == []


class TestGenerate:
    def test_writes_the_images_of_the_seeds(
        self, finished: Any, pgbench: Command, tmp_path: Path
    ) -> None:
        ended = pgbench("generate", finished.run, "--seeds", "0-2,40", "--out", tmp_path / "a")
        assert (ended.code, ended.out, ended.err) == (0, f"{tmp_path / 'a'}\n", "")
        names = sorted(os.listdir(tmp_path / "a"))
        assert names == [f"seed0000{seed:02}.png" for seed in (0, 1, 2, 40)]
        last = sorted(finished.run.glob("snapshots/*"))[-1]
        generator, info = load_snapshot(last, torch.device("cpu"))
        images = np.concatenate(list(generate(generator, [0, 1, 2, 40], lod=info.lod)))
        for name, image in zip(names, images, strict=True):
            with Image.open(tmp_path / "a" / name) as picture:
                assert np.array_equal(np.asarray(picture), image.transpose(1, 2, 0))
        pgbench("generate", last, "--seeds", "40", "--out", tmp_path / "b")
        alone = (tmp_path / "b" / "seed000040.png").read_bytes()
        assert alone == (tmp_path / "a" / "seed000040.png").read_bytes()

    def test_refuses_what_it_cannot_sample(
        self, copied: Any, pgbench: Command, tmp_path: Path
    ) -> None:
        out = ("--out", tmp_path / "out")
        refused(pgbench("generate", tmp_path, *out), "is no run folder")
        refused(pgbench("generate", copied.run / "config.json", *out), "is no snapshot of pgbench")
        refused(pgbench("generate", copied.run, "--seeds", "x", *out), "seeds 'x' is no list")
        for path in copied.run.glob("snapshots/*"):
            path.unlink()
        refused(pgbench("generate", copied.run, *out), "has no snapshot yet; let it train further")
        assert not (tmp_path / "out").exists()

    def test_a_file_in_the_way_is_told(
        self, finished: Any, pgbench: Command, tmp_path: Path
    ) -> None:
        (tmp_path / "out").touch()
        ended = pgbench("generate", finished.run, "--out", tmp_path / "out")
        refused(ended, f"{tmp_path / 'out'}: File exists; make room or choose another place")
