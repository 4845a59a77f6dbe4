"""Records are what the metrics say of a snapshot's images, each measured once."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pgbench import evaluate
from pgbench.checkpoint import load_snapshot
from pgbench.config import RunConfig, replace
from pgbench.crew import Crew
from pgbench.data import ImageStore
from pgbench.distributed import ALONE
from pgbench.evaluate import (
    Worker,
    check_store,
    evaluate_missing,
    evaluate_run,
    fake_images,
    real_images,
)
from pgbench.metrics import fid, inception_score, msssim, open_efficientnet, prdc, swd
from pgbench.metrics.registry import parse
from pgbench.results import Record, RunFolder
from pgbench.sampling import generate

Command = Callable[..., Any]
CPU = torch.device("cpu")
PARTS = ("data", "generator", "discriminator")
FEATURE_KEYS = {  # of metrics that look through a network, the one that needs no download
    "fd-effnetlite0-32": ["fd-effnetlite0"],
    "is-effnetlite0-20": ["is-effnetlite0_mean", "is-effnetlite0_std"],
    "prdc-effnetlite0-32": [
        "precision-effnetlite0",
        "recall-effnetlite0",
        "density-effnetlite0",
        "coverage-effnetlite0",
    ],
}


def nothing(*_: object) -> None:
    """No progress."""


@pytest.fixture
def run(copied: Any) -> RunFolder:
    return RunFolder.at(copied.run)


def values(run: RunFolder) -> dict[tuple[float, str, str], Record]:
    records, problems = run.records()
    assert problems == []
    return {(record.kimg, record.metric, record.key): record for record in records}


class TestRecords:
    def test_every_snapshot_has_its_metrics_and_the_last_one_the_final_ones(
        self, run: RunFolder
    ) -> None:
        each = [("swd64", "16"), ("swd64", "avg"), ("msssim16", "msssim")]
        last = [("swd128", "16"), ("swd128", "avg")]
        expected = [(kimg, *name) for kimg in (0.1, 0.3, 0.4) for name in each]
        assert list(values(run)) == expected + [(0.4, *name) for name in last]
        assert len(run.records()[0]) == len(expected) + 2

    def test_values_are_those_of_the_metrics(self, run: RunFolder, copied: Any) -> None:
        found = values(run)
        for kimg, path in run.snapshots_done():
            generator, info = load_snapshot(path, CPU)
            fakes = np.concatenate(list(generate(generator, range(64), lod=info.lod)))
            order = np.random.default_rng(0).permutation(192)[:64]
            reals = np.asarray(copied.store.level(16))[order]
            by_hand = swd(reals, fakes, seed=0, mirror=True)
            assert found[kimg, "swd64", "avg"].value == by_hand.values["avg"]
            assert found[kimg, "swd64", "16"].stderr == by_hand.stderr["16"]
            pairs = msssim(fakes[:32])
            assert found[kimg, "msssim16", "msssim"].value == pairs.values["msssim"]

    def test_a_record_says_what_it_is_of(self, run: RunFolder, copied: Any) -> None:
        record = values(run)[0.4, "swd128", "avg"]
        config, info = copied.config, copied.store.info
        assert (record.run_id, record.row, record.seed) == (config.run_id, "g", 0)
        assert (record.dataset, record.dataset_fingerprint) == ("tiny", info.fingerprint[16])
        assert (record.resolution, record.profile, record.num_images) == (16, "tiny", 128)
        assert record.protocol["fake_seeds"] == "0-127"
        assert record.protocol["metric_seed"] == 0
        assert record.protocol["phase_kimg"] == "0.064/0.064"
        assert record.protocol["mirror"] is True


class TestOnce:
    def test_what_is_recorded_is_not_measured_again(
        self, run: RunFolder, copied: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evaluate, "measure", None)
        before = run.metrics_path.read_bytes()
        evaluate_missing(run, copied.config, copied.store, device=CPU, on_progress=nothing)
        assert run.metrics_path.read_bytes() == before

    def test_a_metric_torn_apart_by_a_kill_is_measured_again(
        self, run: RunFolder, copied: Any
    ) -> None:
        whole = values(run)
        lines = run.metrics_path.read_text().splitlines(keepends=True)
        run.metrics_path.write_text("".join(lines[:-1]))  # swd128 has 16 and lacks avg
        evaluate_missing(run, copied.config, copied.store, device=CPU, on_progress=nothing)
        again = values(run)
        assert list(again) == list(whole)
        assert all(again[key].value == whole[key].value for key in whole)

    def test_a_failed_record_is_measured_again(self, run: RunFolder, copied: Any) -> None:
        failed = {"status": "failed", "value": None, "error": "x"}
        lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
        damaged = [line | (failed if line["metric"] == "swd128" else {}) for line in lines]
        run.metrics_path.write_text("".join(json.dumps(line) + "\n" for line in damaged))
        evaluate_missing(run, copied.config, copied.store, device=CPU, on_progress=nothing)
        assert values(run)[0.4, "swd128", "avg"].status == "ok"

    def test_another_version_is_measured_beside(
        self, run: RunFolder, copied: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def newer(name: str) -> Any:
            return dataclasses.replace(real(name), version=99)

        real, asked = parse, []

        def measured(spec: Any, *_: Any, **__: Any) -> Any:
            asked.append(spec.name)
            raise KeyboardInterrupt

        monkeypatch.setattr(evaluate, "parse", newer)
        monkeypatch.setattr(evaluate, "measure", measured)
        with pytest.raises(KeyboardInterrupt):
            evaluate_missing(run, copied.config, copied.store, device=CPU, on_progress=nothing)
        assert asked == ["swd64"]

    def test_progress_goes_from_little_to_whole(self, run: RunFolder, copied: Any) -> None:
        told: dict[str, list[float]] = {}
        config = replace(copied.config, evaluation={"snapshot": ("swd32", "msssim8"), "final": ()})

        def tell(metric: str, fraction: float) -> None:
            told.setdefault(metric, []).append(fraction)

        evaluate_missing(run, config, copied.store, device=CPU, on_progress=tell)
        assert told.keys() == {"swd32", "msssim8"}
        assert all(0 <= f <= 1 for fractions in told.values() for f in fractions)
        assert all(fractions[-1] == 1 for fractions in told.values())


class TestFeatures:
    @pytest.fixture
    def last(self, run: RunFolder) -> RunFolder:
        """The run with its last snapshot alone, evaluated by the metrics."""
        for _, path in run.snapshots_done()[:-1]:
            path.unlink()
        evaluate_run(run.path, tuple(FEATURE_KEYS), data=None, device=CPU)
        return run

    def of_features(self, run: RunFolder) -> dict[tuple[float, str, str], Record]:
        return {key: record for key, record in values(run).items() if key[1] in FEATURE_KEYS}

    def test_records_have_the_names_and_what_the_metrics_say(
        self, last: RunFolder, copied: Any
    ) -> None:
        found = self.of_features(last)
        assert list(found) == [
            (0.4, name, key) for name in FEATURE_KEYS for key in FEATURE_KEYS[name]
        ]
        generator, info = load_snapshot(last.snapshots_done()[-1][1], CPU)
        fakes = np.concatenate(list(generate(generator, range(32), lod=info.lod)))
        reals = np.asarray(copied.store.level(16))[np.random.default_rng(0).permutation(192)[:32]]
        network = open_efficientnet()
        for name, expected in zip(
            FEATURE_KEYS,
            (
                fid(reals, fakes, extractor=network, mirror=True),
                inception_score(fakes[:20], extractor=network),
                prdc(reals, fakes, extractor=network, mirror=True),
            ),
            strict=True,
        ):
            for key, value in expected.values.items():
                record = found[0.4, name, key]
                assert record.value == pytest.approx(value, rel=1e-6, abs=1e-9)
                assert record.num_images == expected.num_images
                assert expected.protocol.items() <= record.protocol.items()

    def test_evaluating_again_adds_nothing(self, last: RunFolder) -> None:
        before = last.metrics_path.read_bytes()
        evaluate_run(last.path, tuple(FEATURE_KEYS), data=None, device=CPU)
        assert last.metrics_path.read_bytes() == before

    @pytest.mark.parametrize("name", FEATURE_KEYS)
    def test_without_its_last_key_a_metric_is_measured_again(
        self, last: RunFolder, name: str
    ) -> None:
        whole, lacking = self.of_features(last), FEATURE_KEYS[name][-1]
        lines = last.metrics_path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["key"] != lacking]
        assert len(kept) == len(lines) - 1
        last.metrics_path.write_text("".join(kept))
        evaluate_run(last.path, tuple(FEATURE_KEYS), data=None, device=CPU)
        again = self.of_features(last)
        assert {key: record.value for key, record in again.items()} == {
            key: record.value for key, record in whole.items()
        }
        added = [json.loads(line) for line in last.metrics_path.read_text().splitlines()][
            len(kept) :
        ]
        assert {line["metric"] for line in added} == {name}
        assert added[-1]["key"] == lacking


class TestImages:
    def test_a_fake_depends_on_its_seed_alone(self, run: RunFolder) -> None:
        generator, info = load_snapshot(run.snapshots_done()[-1][1], CPU)
        crew = Crew(ALONE, Worker(CPU))
        config = info.generator.model_dump_json()
        crew.work([("generator", config, 0.0, generator.state_dict())])
        fakes = fake_images(crew, 40, resolution=16)
        whole = fakes.read(np.arange(40))
        assert whole.shape == (40, 3, 16, 16)
        assert np.array_equal(whole, np.concatenate(list(generate(generator, range(40), lod=0))))
        for batch in (1, 7, 16):
            assert np.array_equal(np.concatenate(list(fakes.batches(batch))), whole)
        assert np.array_equal(fakes.read(np.array([33, 2])), whole[[33, 2]])

    def test_reals_are_different_ones_and_always_the_same(self, tiny_store: ImageStore) -> None:
        (all_of_them,) = real_images(tiny_store, 16, 192).batches(192)
        assert sorted(map(bytes, all_of_them)) == sorted(map(bytes, tiny_store.level(16)))
        (some,) = real_images(tiny_store, 16, 50).batches(50)
        assert np.array_equal(some, all_of_them[:50])

    def test_more_reals_than_there_are_is_told(self, tiny_store: ImageStore) -> None:
        with pytest.raises(ValueError, match="holds 192 images and a metric needs 193; take"):
            real_images(tiny_store, 16, 193)


class TestCheckStore:
    def test_what_fits_passes(self, finished: Any) -> None:
        check_store(finished.config, finished.store)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"data": {"name": "other"}}, "holds tiny and the run is of other"),
            ({part: {"resolution": 32} for part in PARTS}, "no images of 32x32, only 16, 8, 4"),
            ({"evaluation": {"final": ("swd1k",)}}, "192 images and a metric needs 1024"),
            ({"evaluation": {"final": ("lpips1k",)}}, "'lpips1k' is no metric name"),
        ],
    )
    def test_what_does_not_is_told(self, finished: Any, changes: dict[str, Any], why: str) -> None:
        with pytest.raises(ValueError, match=why):
            check_store(replace(finished.config, **changes), finished.store)


class TestEvaluateRun:
    def test_measures_other_metrics_of_every_snapshot(self, run: RunFolder, copied: Any) -> None:
        before = values(run)
        evaluate_run(run.path, ("msssim8", "swd32"), data=None, device=CPU)
        added = [key for key in values(run) if key not in before]
        keys = [("msssim8", "msssim"), ("swd32", "16"), ("swd32", "avg")]
        assert added == [(kimg, *key) for kimg in (0.1, 0.3, 0.4) for key in keys]

    def test_the_data_may_have_moved(self, run: RunFolder, copied: Any, tmp_path: Path) -> None:
        moved = shutil.copytree(copied.store.path, tmp_path / "moved")
        evaluate_run(run.path, ("swd32",), data=str(moved), device=CPU)
        assert (0.4, "swd32", "avg") in values(run)

    def test_refuses_what_it_cannot_measure(self, run: RunFolder, tmp_path: Path) -> None:
        for path, names, data, why in (
            (tmp_path, None, None, "is no run folder"),
            (run.path, ("lpips1k",), None, "'lpips1k' is no metric name"),
            (run.path, ("",), None, "'' is no metric name"),
            (run.path, ("swd1k",), None, "holds 192 images and a metric needs 1024"),
            (run.path, None, str(tmp_path), "is no image store"),
            (run.path, None, "nope", "no data set 'nope'"),
        ):
            with pytest.raises(ValueError, match=why):
                evaluate_run(path, names, data=data, device=CPU)

    def test_a_run_without_snapshots_is_told(self, run: RunFolder) -> None:
        shutil.rmtree(run.snapshots)
        with pytest.raises(ValueError, match="has no snapshot yet; let it train further"):
            evaluate_run(run.path, None, data="nope", device=CPU)

    def test_a_configuration_of_another_version_is_one_sentence(self, run: RunFolder) -> None:
        config = json.loads(run.config_path.read_text())
        run.config_path.write_text(json.dumps(config | {"surprise": 1}))
        with pytest.raises(
            ValueError, match=r"is of another version of pgbench \(surprise: "
        ) as got:
            evaluate_run(run.path, None, data=None, device=CPU)
        assert "\n" not in str(got.value)

    def test_a_damaged_snapshot_is_named(self, run: RunFolder) -> None:
        _, path = run.snapshots_done()[0]
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ValueError, match=f"{path.name} is no snapshot of pgbench"):
            evaluate_run(run.path, ("msssim8",), data=None, device=CPU)

    def test_a_config_reads_back_as_it_was(self, run: RunFolder, copied: Any) -> None:
        assert RunConfig.model_validate(run.config()) == copied.config


def test_the_command_adds_records(copied: Any, pgbench: Command) -> None:
    ended = pgbench("evaluate", copied.run, "--metrics", "swd32, msssim8", "--device", "cpu")
    assert (ended.code, ended.out) == (0, f"{copied.run / 'metrics.jsonl'}\n")
    assert {"swd32", "msssim8"} <= {
        record.metric for record in values(RunFolder(copied.run)).values()
    }


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--metrics", "lpips1k"], "'lpips1k' is no metric name"),
        (["--metrics", ","], "'' is no metric name"),
        (["--data", "nope"], "there is no data set 'nope'"),
        (["--device", "tpu"], "'tpu' is not one of"),
    ],
)
def test_the_command_refuses(finished: Any, pgbench: Command, options: list[str], why: str) -> None:
    ended = pgbench("evaluate", finished.run, *options)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert why in ended.err
