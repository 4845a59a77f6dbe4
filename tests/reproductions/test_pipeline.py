"""Every row, from pixels to the table: run, evaluate, report, generate, by the command line."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from pgbench.checkpoint import load_snapshot
from pgbench.cli import cli
from pgbench.config import RunConfig
from pgbench.reproductions.table1 import ROWS
from pgbench.results import RunFolder
from pgbench.sampling import generate

pytestmark = pytest.mark.slow
ALL = ["a", "b", "c", "d", "e*", "e", "f", "g", "h"]


def pgbench(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result


@dataclass
class Pipeline:
    """A results folder that rows are run into when they are first asked for."""

    results: Path
    said: dict[str, Result]

    def run(self, row: str) -> RunFolder:
        if row not in self.said:
            name = "e-star" if row == "e*" else row
            smoke = ("--profile", "smoke", "--device", "cpu", "--out", self.results)
            self.said[row] = pgbench("run", "ablation", "--row", name, *smoke)
        plain = row.replace("*", "-star")
        (path,) = self.results.glob(f"table1-{plain}-portraits-smoke-s0-*")
        return RunFolder.at(path)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(tmp_path_factory.mktemp("pipeline") / "results", {})


def test_these_are_all_rows() -> None:
    assert list(ROWS) == ALL


@pytest.mark.parametrize("row", ALL)
class TestRow:
    def test_runs_to_its_end(self, row: str, pipeline: Pipeline) -> None:
        run = pipeline.run(row)
        status, config = run.read_status(), RunConfig.model_validate(run.config())
        assert status is not None
        assert (status.status, status.kimg >= config.schedule.total_kimg) == ("done", True)
        assert config.row == row
        records, problems = run.records()
        assert problems == []
        final = [r for r in records if r.kimg == max(r.kimg for r in records)]
        assert {r.metric for r in final} == {"swd256", "msssim128", "swd1k", "msssim256"}
        assert all(r.status == "ok" for r in records)

    def test_says_how_it_stands_beside_the_paper(self, row: str, pipeline: Pipeline) -> None:
        pipeline.run(row)
        said = pipeline.said[row].stdout
        assert f"row {row}, smoke: done" in said
        assert "ours: portraits 16²" in said.replace("\n", " ")
        assert "published" in said
        assert str(pipeline.results / "report" / "report.md") in said.replace("\n", " ").split()

    def test_is_evaluated_by_other_metrics(self, row: str, pipeline: Pipeline) -> None:
        run = pipeline.run(row)
        pgbench("evaluate", run.path, "--metrics", "msssim16", "--device", "cpu")
        records, problems = run.records()
        clocks = [kimg for kimg, _ in run.snapshots_done()]
        assert problems == []
        assert [r.kimg for r in records if r.metric == "msssim16"] == clocks

    def test_generates_what_sampling_says(
        self, row: str, pipeline: Pipeline, tmp_path: Path
    ) -> None:
        run = pipeline.run(row)
        pgbench("generate", run.path, "--seeds", "3-4,20", "--out", tmp_path, "--device", "cpu")
        generator, info = load_snapshot(run.snapshots_done()[-1][1], torch.device("cpu"))
        images = np.concatenate(list(generate(generator, [3, 4, 20], lod=info.lod)))
        paths = sorted(tmp_path.iterdir())
        assert [path.name for path in paths] == [f"seed{s:06d}.png" for s in (3, 4, 20)]
        for path, image in zip(paths, images, strict=True):
            with Image.open(path) as picture:
                assert np.array_equal(np.asarray(picture), image.transpose(1, 2, 0))


@pytest.fixture(scope="module")
def report(pipeline: Pipeline) -> Path:
    """The report of all rows."""
    for row in ALL:
        pipeline.run(row)
    out = pipeline.results.parent / "report"
    said = pgbench("report", pipeline.results, "--out", out)
    assert said.stdout.split() == [str(out / name) for name in ("index.html", "report.md")]
    return out


class TestReport:
    def test_the_table_has_nine_finished_rows_with_the_values_of_the_records(
        self, report: Path, pipeline: Pipeline
    ) -> None:
        with (report / "tables" / "table1-portraits-smoke-16.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert list(dict.fromkeys(line["row"] for line in lines)) == ALL
        assert {line["status"] for line in lines} == {"done"}
        ours = {(line["row"], line["key"]): line for line in lines if line["ours_mean"]}
        assert list(ours) == [(row, key) for row in ALL for key in ("16", "avg", "msssim")]
        for row in ALL:
            records, _ = pipeline.run(row).records()
            last = max(record.kimg for record in records)
            named = {(r.metric, r.key): r for r in records if r.kimg == last}
            for key in ("16", "avg", "msssim"):
                record = named["msssim256" if key == "msssim" else "swd1k", key]
                line = ours[row, key]
                assert float(line["ours_mean"]) == pytest.approx(record.value, rel=1e-9)
                assert (line["metric"], line["n_seeds"]) == (record.metric, "1")
                assert float(line["kimg"]) == record.kimg
                if line["published"]:
                    difference = float(line["ours_mean"]) - float(line["published"])
                    assert float(line["difference"]) == pytest.approx(difference)

    def test_nothing_was_set_aside(self, report: Path) -> None:
        page = (report / "report.md").read_text()
        assert "Nothing was set aside." in page
        assert ": 9.\n" in page  # how many runs there are

    def test_all_rows_again_are_done_already(self, pipeline: Pipeline) -> None:
        runs = [pipeline.run(row) for row in ALL]
        before = {run: run.metrics_path.read_bytes() for run in runs}
        again = pgbench(
            *("run", "ablation", "--row", "all", "--profile", "smoke", "--device", "cpu"),
            *("--out", pipeline.results),
        )
        said = again.stderr.splitlines()
        assert said == [f"{run.path} is done already" for run in runs]
        assert {run: run.metrics_path.read_bytes() for run in runs} == before

    def test_the_networks_of_the_rows_differ_as_their_outputs_do(
        self, pipeline: Pipeline, report: Path
    ) -> None:
        values = set()
        for row in ALL:
            records, _ = pipeline.run(row).records()
            values.add(next(r.value for r in records if (r.metric, r.key) == ("swd1k", "avg")))
        assert len(values) == 9
