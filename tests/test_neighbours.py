"""Neighbours are those of a search over every pair in float64; a planted copy is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pgbench import neighbours
from pgbench.checkpoint import load_snapshot
from pgbench.data import Images, ImageStore
from pgbench.neighbours import nearest_training_images, search
from pgbench.prepare import StoreDraft, build_store
from pgbench.results import RunFolder
from pgbench.sampling import generate

CPU = torch.device("cpu")
RNG = np.random.default_rng(7)
TRAINING = RNG.integers(0, 256, (50, 3, 8, 8), np.uint8)
QUERIES = RNG.integers(0, 256, (6, 3, 8, 8), np.uint8)
NOBODY = np.full(6, -1)


def by_definition(
    query: Images, training: Images, *, mirror: bool
) -> list[tuple[float, int, bool]]:
    """(distance, number, mirrored) of every training image, sorted, one pair after the other."""
    pairs = []
    for number, image in enumerate(training):
        ways = [(image, False), (image[:, :, ::-1], True)][: 1 + mirror]
        found = [
            (float(np.sqrt(np.mean((query.astype(float) - way.astype(float)) ** 2))), number, flip)
            for way, flip in ways
        ]
        pairs.append(min(found, key=lambda one: (one[0], one[2])))
    return sorted(pairs)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_the_search_is_exact(block: int, mirror: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK_BYTES", block * 8 * 192)
    found = search(QUERIES, TRAINING, num_images=50, mirror=mirror, own=NOBODY)
    for number, query in enumerate(QUERIES):
        expected = by_definition(query, TRAINING, mirror=mirror)[:5]
        assert found.indices[number].tolist() == [index for _, index, _ in expected]
        assert found.mirrored[number].tolist() == [flip for *_, flip in expected]
        assert np.allclose(found.distances[number], [one[0] for one in expected], rtol=1e-12)


def test_copies_are_at_no_distance() -> None:
    queries = np.stack([TRAINING[31], TRAINING[8][:, :, ::-1]])
    found = search(queries, TRAINING, num_images=50, mirror=True, own=NOBODY[:2])
    assert found.distances[:, 0].tolist() == [0.0, 0.0]
    assert found.indices[:, 0].tolist() == [31, 8]
    assert found.mirrored[:, 0].tolist() == [False, True]


def test_an_image_does_not_find_itself_nor_what_was_not_trained() -> None:
    found = search(TRAINING[:6], TRAINING, num_images=20, mirror=True, own=np.arange(6))
    assert all(number not in found.indices[number] for number in range(6))
    assert found.indices.max() < 20
    assert (found.distances > 0).all()


def test_of_equal_distances_the_first_image_wins() -> None:
    twins = np.concatenate([TRAINING[:9]] * 2)
    found = search(TRAINING[4:5], twins, num_images=18, mirror=False, own=NOBODY[:1])
    assert found.indices[0, :2].tolist() == [4, 13]


def test_fewer_images_than_neighbours() -> None:
    found = search(QUERIES, TRAINING, num_images=2, mirror=False, own=NOBODY)
    assert found.distances.shape == (6, 2)


@pytest.fixture
def run(copied: Any) -> RunFolder:
    return RunFolder.at(copied.run)


@pytest.fixture
def with_copies(run: RunFolder, tmp_path: Path) -> tuple[ImageStore, Images]:
    """A store in which the images 11 and 12 are two samples of the run, the latter mirrored."""
    generator, info = load_snapshot(run.snapshots_done()[-1][1], CPU)
    fakes = np.concatenate(list(generate(generator, range(3), lod=info.lod)))
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (40, 3, 16, 16), np.uint8)
    images[11], images[12] = fakes[0], fakes[1][:, :, ::-1]
    draft = StoreDraft("tiny", "test", "none", resolution=16, num_images=40, mirror=True)
    return build_store(tmp_path / "copies", draft, read=lambda i: images[i]), fakes


def written(run: RunFolder, store: ImageStore, **options: Any) -> dict[str, Any]:
    paths = nearest_training_images(run, store, device=CPU, **options)
    assert [path.name for path in paths] == ["neighbours.png", "neighbours.json", "walk.png"]
    return dict(json.loads(paths[1].read_text()))


def test_planted_copies_are_found(run: RunFolder, with_copies: tuple[ImageStore, Images]) -> None:
    store, _ = with_copies
    told = written(run, store, count=3)
    nearest = [sample["nearest"][0] for sample in told["samples"]]
    assert nearest[0] == {"index": 11, "mirrored": False, "distance": 0.0}
    assert nearest[1] == {"index": 12, "mirrored": True, "distance": 0.0}
    assert nearest[2]["distance"] > 0
    assert (told["level"], told["num_training_images"], told["kimg"]) == (8, 40, 0.4)


def test_the_picture_shows_samples_and_what_is_nearest(
    run: RunFolder, with_copies: tuple[ImageStore, Images]
) -> None:
    store, fakes = with_copies
    written(run, store, count=2)
    with Image.open(run.path / "neighbours.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (2 * 64, 6 * 64 + 8, 3)
    for line, fake in enumerate(fakes[:2]):
        rows = pixels[line * 64 : line * 64 + 64 : 4]
        assert np.array_equal(rows[:, :64:4], fake.transpose(1, 2, 0))
        assert np.array_equal(rows[:, 72 : 72 + 64 : 4], fake.transpose(1, 2, 0))
    assert (pixels[:, 64:72] == 255).all()
    with Image.open(run.path / "walk.png") as walk:
        assert walk.size == (8 * 64, 4 * 64)


def test_reals_that_were_trained_do_not_find_themselves(
    run: RunFolder, tiny_store: ImageStore
) -> None:
    told = written(run, tiny_store)
    assert told["reals_held_out"] is False
    level = tiny_store.level(8)
    for real in told["reals"][:4]:
        others = by_definition(level[real["image"]], level[:], mirror=True)
        distance, index, _ = next(one for one in others if one[1] != real["image"])
        assert real["nearest"][0]["index"] == index
        assert real["nearest"][0]["distance"] == pytest.approx(distance)


def test_reals_beyond_the_trained_are_held_out(run: RunFolder, tiny_store: ImageStore) -> None:
    config: Any = run.config()
    config["data"]["num_images"] = 180
    run.config_path.write_text(json.dumps(config))
    told = written(run, tiny_store)
    assert told["reals_held_out"] is True
    assert sorted(real["image"] for real in told["reals"]) == list(range(180, 192))
    found = [one["index"] for sample in told["samples"] for one in sample["nearest"]]
    assert max(found) < 180


def test_the_same_again_is_the_same(run: RunFolder, tiny_store: ImageStore) -> None:
    names = ("neighbours.png", "neighbours.json", "walk.png")
    first = []
    for _ in range(2):
        written(run, tiny_store, count=2)
        first.append([(run.path / name).read_bytes() for name in names])
    assert first[0] == first[1]


@pytest.mark.parametrize("count", [0, 65])
def test_counts_that_cannot_be_shown(run: RunFolder, tiny_store: ImageStore, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} samples cannot be shown; ask for 1 to 64"):
        nearest_training_images(run, tiny_store, device=CPU, count=count)


def test_another_data_set_is_refused(run: RunFolder, tiny_store: ImageStore) -> None:
    info = tiny_store.info.model_copy(update={"name": "others"})
    others = ImageStore.mapped(tiny_store.path, info)
    with pytest.raises(ValueError, match="images of others and the run is of 192 of tiny; give"):
        nearest_training_images(run, others, device=CPU)


def test_a_run_without_a_snapshot(run: RunFolder, tiny_store: ImageStore) -> None:
    for _, path in run.snapshots_done():
        path.unlink()
    with pytest.raises(ValueError, match="has no snapshot yet; let it train further"):
        nearest_training_images(run, tiny_store, device=CPU)


def test_the_command_writes_into_the_run(
    run: RunFolder, tiny_store: ImageStore, pgbench: Callable[..., Any]
) -> None:
    done = pgbench("neighbours", run.path, "--data", tiny_store.path, "--count", 1)
    lines = done.out.splitlines()
    assert (done.code, lines[0]) == (0, str(run.path / "neighbours.png"))
    assert all(Path(line).is_file() for line in lines)
    refused = pgbench("neighbours", run.path.parent)
    assert refused.code == 2
    assert "is no run folder" in refused.err
