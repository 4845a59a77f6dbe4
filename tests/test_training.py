"""Each step does what the paper's section 2 says, and a tick leaves all that is promised."""

import copy
import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from torch import Tensor, nn

from pgbench import training
from pgbench.checkpoint import load_snapshot, load_state
from pgbench.config import RunConfig
from pgbench.data import Images, ImageStore, Sampler
from pgbench.layers import fade_reals
from pgbench.losses import DLoss
from pgbench.results import RunFolder
from pgbench.sampling import generate
from pgbench.steps import Steps
from pgbench.training import Trainer

TinyConfig = Callable[..., RunConfig]
CPU = torch.device("cpu")


@pytest.fixture
def make(tiny_store: ImageStore) -> Callable[[RunConfig], Trainer]:
    """A trainer of a configuration on the tiny store."""

    def make(config: RunConfig) -> Trainer:
        sampler = Sampler(tiny_store, num_images=None, mirror=True, seed=config.seed)
        return Trainer(config, sampler, CPU)

    return make


@pytest.fixture
def d_losses(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What every loss of D was of, and what it was."""
    calls: list[dict[str, Any]] = []
    plain = Steps.d_scores

    def watched(steps: Steps, reals: Tensor, fakes: Tensor, *rest: Any) -> DLoss:
        calls.append({"real": reals, "fake": fakes, "loss": plain(steps, reals, fakes, *rest)})
        return calls[-1]["loss"]

    monkeypatch.setattr(Steps, "d_scores", watched)
    return calls


def weights(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


Make = Callable[[RunConfig], Trainer]


@pytest.mark.parametrize("row", ["a", "g"])
def test_ema_follows_its_formula(row: str, make: Make, tiny_config: TinyConfig) -> None:
    trainer = make(tiny_config(row, optimiser={"ema": 0.9}))
    expected = [weight.double() for weight in weights(trainer.G)]
    assert same(weights(trainer.G), weights(trainer.G_ema))
    for _ in range(4):
        trainer.step()
        now = weights(trainer.G)
        expected = [0.9 * e + 0.1 * w.double() for e, w in zip(expected, now, strict=True)]
    for ema, value in zip(weights(trainer.G_ema), expected, strict=True):
        torch.testing.assert_close(ema.double(), value, rtol=1e-5, atol=1e-7)
    assert not same(weights(trainer.G), weights(trainer.G_ema))


def test_the_g_step_gives_d_no_gradients(make: Make, tiny_config: TinyConfig) -> None:
    trainer = make(tiny_config())
    seen = []
    step_d, step_g = trainer.optimisers["D"].step, trainer.optimisers["G"].step

    def after_d() -> None:
        seen.append([None if w.grad is None else w.grad.clone() for w in trainer.D.parameters()])
        step_d()

    def after_g() -> None:
        for before, weight in zip(seen[-1], trainer.D.parameters(), strict=True):
            assert not weight.requires_grad
            assert (before is None) == (weight.grad is None)
            assert before is None or torch.equal(before, weight.grad)  # type: ignore[arg-type]
        step_g()

    trainer.optimisers["D"].step, trainer.optimisers["G"].step = after_d, after_g  # type: ignore[assignment, method-assign]
    trainer.step()
    assert len(seen) == 1
    assert all(weight.requires_grad for weight in trainer.D.parameters())
    assert not any(weight.requires_grad for weight in trainer.G_ema.parameters())


@pytest.mark.parametrize("row", ["c", "e*", "g"])
def test_fakes_made_ahead_are_those_made_in_turn(
    row: str,
    make: Make,
    tiny_config: TinyConfig,
    two_threads: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead, in_turn = (make(tiny_config(row)) for _ in range(2))
    made: list[Tensor | None] = []
    each = training.backward

    def watched(terms: Any, weights: Any, scale: float, meanwhile: Any) -> Any:
        found = each(terms, weights, scale, meanwhile)
        made.append(ahead._made)
        return found

    monkeypatch.setattr(training, "backward", watched)
    for _ in range(5):
        ahead.step()
    n_critic = ahead.config.optimiser.n_critic
    assert [each is not None for each in made] == ([True] * n_critic + [False]) * 5
    monkeypatch.setattr(
        training, "backward", lambda terms, weights, scale, _: each(terms, weights, scale)
    )
    for _ in range(5):
        in_turn.step()
    for one, two in zip(ahead._networks().values(), in_turn._networks().values(), strict=True):
        assert same(weights(one), weights(two))


@pytest.mark.parametrize(("row", "steps"), [("c", 1), ("g", 3)])
def test_reals_are_read_ahead_but_once(
    row: str,
    steps: int,
    make: Make,
    tiny_config: TinyConfig,
    two_threads: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = make(tiny_config(row))
    asked = watched_batches(trainer, monkeypatch)
    for _ in range(steps):
        trainer.step()
        assert asked[-1][0] == trainer.nimg
    assert [first for first, _ in asked] == list(range(0, trainer.nimg + 1, 16))


def test_reals_read_ahead_at_another_resolution_are_read_again(
    make: Make, tiny_config: TinyConfig, two_threads: None
) -> None:
    trainer = make(tiny_config("g"))
    sides = set()
    while len(sides) < 3:
        sides.add(resolution := trainer.step().resolution)
        assert trainer._read is not None
        assert trainer._read[1].shape[2:] == (resolution, resolution)
    assert sides == {4, 8, 16}


@pytest.mark.parametrize("row", ["a", "c", "g"])
def test_the_first_update_is_that_of_adam_weight_by_weight(
    row: str,
    make: Make,
    tiny_config: TinyConfig,
    two_threads: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fused Adam takes gradients as they lie in memory, which could be other than weights."""
    trainer, compared = make(tiny_config(row, schedule={"growing": False})), []
    update = training.update

    def watched(adam: torch.optim.Adam) -> None:
        (group,) = adam.param_groups
        seen = [weight for weight in group["params"] if weight.grad is not None]
        copies = [nn.Parameter(weight.detach().clone()) for weight in seen]
        for weight, copied in zip(seen, copies, strict=True):
            assert weight.grad is not None
            copied.grad = weight.grad.contiguous()
        loop = torch.optim.Adam(copies, group["lr"], group["betas"], group["eps"], foreach=False)
        fresh = not adam.state
        update(adam)
        if fresh:
            loop.step()
            compared.append(len(copies))
            torch.testing.assert_close(seen, copies, rtol=1e-5, atol=1e-7)

    monkeypatch.setattr(training, "update", watched)
    trainer.step()
    assert len(compared) == 2


def test_a_minibatch_without_whole_groups_is_told_before_training(
    make: Make, tiny_config: TinyConfig
) -> None:
    grouped = {"stddev_group": 4}
    later = {"minibatch_at": ((8, 6),)}
    with pytest.raises(
        ValueError, match="a minibatch of 6 has no whole groups of 4 for the stddev"
    ):
        make(tiny_config(discriminator=grouped, schedule=later))
    make(tiny_config(discriminator=grouped, schedule=later | {"growing": False}))  # never at 8x8
    make(tiny_config(discriminator=grouped, schedule={"minibatch_at": ((8, 3),)}))  # one group


def test_n_critic_shows_new_reals_each_time(
    make: Make, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(tiny_config("c"))
    asked = watched_batches(trainer, monkeypatch)
    for _ in range(2):
        trainer.step()
    assert trainer.nimg == 2 * 5 * 16
    assert asked == [(16 * k, 16) for k in range(10)]
    steps = {name: adam_steps(trainer, name) for name in ("G", "D")}
    assert steps == {"G": 1, "D": 5}  # cleared between: the first fade began at 64 images


def watched_batches(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Position and number of the images that are asked of the sampler from here on."""
    asked = []
    batch = trainer.sampler.batch

    def watched(position: int, count: int, *, resolution: int) -> Images:
        asked.append((position, count))
        return batch(position, count, resolution=resolution)

    monkeypatch.setattr(trainer.sampler, "batch", watched)
    return asked


def adam_steps(trainer: Trainer, name: str) -> int:
    states = trainer.optimisers[name].state.values()
    (count,) = {int(state["step"].item()) for state in states}
    return count


def test_a_shared_step_uses_one_batch_and_both_networks_as_they_were(
    make: Make, tiny_config: TinyConfig, d_losses: list[dict[str, Any]]
) -> None:
    trainer = make(tiny_config(optimiser={"shared_step": True}))
    old_g, old_d = copy.deepcopy((trainer.G, trainer.D))
    rng = trainer.rng.get_state()
    by_hand = torch.Generator()
    by_hand.set_state(rng)
    point = trainer.step()
    z = torch.randn(16, 512, generator=by_hand)
    torch.rand(16, generator=by_hand)
    assert torch.equal(by_hand.get_state(), trainer.rng.get_state())  # nothing else was drawn
    (call,) = d_losses
    fakes = old_g(z, point.lod)
    assert torch.equal(call["fake"], fakes)
    assert not call["fake"].requires_grad
    assert torch.equal(call["loss"].fake_score, old_d(fakes, point.lod).mean())
    loss = -old_d(fakes, point.lod).mean()
    by_old_d = torch.autograd.grad(loss, [w for w in old_g.parameters()], allow_unused=True)
    for weight, gradient in zip(trainer.G.parameters(), by_old_d, strict=True):
        assert (weight.grad is None) == (gradient is None)
        if gradient is not None:
            torch.testing.assert_close(weight.grad, gradient)
    assert trainer.nimg == 16


def test_separate_steps_use_two_batches(make: Make, tiny_config: TinyConfig) -> None:
    trainer = make(tiny_config())
    by_hand = torch.Generator()
    by_hand.set_state(trainer.rng.get_state())
    trainer.step()
    for draw, shape in ((torch.randn, (16, 512)), (torch.rand, (16,)), (torch.randn, (16, 512))):
        draw(shape, generator=by_hand)
    assert torch.equal(by_hand.get_state(), trainer.rng.get_state())


def test_reals_are_scaled_and_faded(
    make: Make, tiny_config: TinyConfig, tiny_store: ImageStore, d_losses: list[dict[str, Any]]
) -> None:
    trainer = make(tiny_config())
    reals = Sampler(tiny_store, num_images=None, mirror=True, seed=0)
    for _ in range(22):
        point = trainer.step()
        pixels = reals.batch(point.nimg, 16, resolution=point.resolution).astype(np.float32)
        exact = torch.from_numpy(pixels) / 127.5 - 1
        torch.testing.assert_close(d_losses[-1]["real"], fade_reals(exact, point.lod))
        assert d_losses[-1]["real"].abs().max() <= 1
        assert d_losses[-1]["fake"].shape == d_losses[-1]["real"].shape
    assert {call["real"].shape[-1] for call in d_losses} == {4, 8, 16}


def test_adam_starts_afresh_exactly_when_the_active_lods_change(
    make: Make, tiny_config: TinyConfig
) -> None:
    trainer = make(tiny_config())
    counts = []
    for _ in range(22):
        trainer.step()
        counts.append((adam_steps(trainer, "G"), adam_steps(trainer, "D")))
    # 16 images a step: 64 at 4x4, a fade of 64, 64 at 8x8, a fade, 16x16. Where a phase begins
    # its fade is still 0, so active lods change one step later than a fade begins; and the step
    # that begins the next phase is whole again.
    lods = [2 - max(0, k - 4) / 4 if k < 8 else max(0, 1 - max(0, k - 12) / 4) for k in range(22)]
    active = [(math.floor(lod), math.ceil(lod)) for lod in lods]
    since = [1]
    for before, now in pairwise(active):
        since.append(since[-1] + 1 if now == before else 1)
    assert counts == [(steps, steps) for steps in since]
    assert since.count(1) == 5


def test_the_learning_rate_ramps_up(make: Make, tiny_config: TinyConfig) -> None:
    trainer = make(tiny_config(optimiser={"rampup_kimg": 0.08}))
    for step in range(7):
        trainer.step()
        t = min(1.0, step * 16 / 80)
        for adam in trainer.optimisers.values():
            assert adam.param_groups[0]["lr"] == pytest.approx(1e-3 * math.exp(-5 * (1 - t) ** 2))


def test_lsgan_noise_follows_the_loss_of_d(
    make: Make, tiny_config: TinyConfig, d_losses: list[dict[str, Any]]
) -> None:
    trainer = make(tiny_config(loss={"kind": "lsgan"}))
    average = 0.0
    for _ in range(6):
        trainer.step()
        loss = d_losses[-1]["loss"].total.item()
        average = 0.9 * average + 0.1 * min(1.0, max(0.0, loss))
        assert trainer.noise.average == pytest.approx(average)
        assert trainer.state()["noise"] == trainer.noise.average
    assert average > 0


def test_wgan_has_no_noise(make: Make, tiny_config: TinyConfig) -> None:
    trainer = make(tiny_config())
    trainer.step()
    assert trainer.noise.average == 0.0


def test_minibatch_discrimination_is_initialised_from_reals(
    make: Make, tiny_config: TinyConfig, tiny_store: ImageStore
) -> None:
    """Closeness of reals plus bias has mean 0, and the nearest one is 2 away on average."""
    trainer = make(tiny_config("e*"))
    reals = Sampler(tiny_store, num_images=None, mirror=True, seed=0).batch(0, 192, resolution=4)
    layer = trainer.D.discrimination
    assert layer is not None
    with torch.no_grad():
        features = trainer.D._features(torch.from_numpy(reals) / 127.5 - 1, 2, None, None)
        added = layer(features)[:, features.shape[1] :]
        distances = layer._distances(features)
    nearest = (distances + 1e6 * torch.eye(192)[:, :, None]).amin(1).mean(0)
    torch.testing.assert_close(added.mean(0), torch.zeros(100), atol=1e-4, rtol=0)
    torch.testing.assert_close(nearest, torch.full((100,), 2.0), atol=1e-3, rtol=0)


def test_the_seed_alone_decides(make: Make, tiny_config: TinyConfig) -> None:
    trainers = [make(tiny_config(seed=seed)) for seed in (0, 0, 1)]
    torch.manual_seed(1)
    for trainer in trainers:
        trainer.step()
        torch.manual_seed(2)
    assert same(weights(trainers[0].G), weights(trainers[1].G))
    assert not same(weights(trainers[0].G), weights(trainers[2].G))
    assert not same(weights(trainers[0].D), weights(trainers[2].D))


class TestState:
    @pytest.mark.parametrize("steps", [0, 5, 9])
    def test_a_loaded_trainer_goes_on_as_the_other(
        self, steps: int, make: Make, tiny_config: TinyConfig
    ) -> None:
        one, two = make(tiny_config()), make(tiny_config())
        for _ in range(steps):
            one.step()
        two.load(copy.deepcopy(one.state()))
        for _ in range(3):
            assert one.step() == two.step()
        for name in ("G", "D", "G_ema"):
            assert same(weights(getattr(one, name)), weights(getattr(two, name)))

    def test_another_configuration_is_refused(self, make: Make, tiny_config: TinyConfig) -> None:
        state = make(tiny_config(seed=1)).state()
        with pytest.raises(ValueError, match="the training state is of configuration"):
            make(tiny_config()).load(state)

    def test_other_pixels_are_refused(self, make: Make, tiny_config: TinyConfig) -> None:
        trainer = make(tiny_config())
        with pytest.raises(ValueError, match="holds other pixels than the run began with"):
            trainer.load(trainer.state() | {"fingerprint": {16: "other"}})

    def test_weights_that_are_not_finite_are_named(
        self, make: Make, tiny_config: TinyConfig
    ) -> None:
        trainer = make(tiny_config())
        trainer.check_weights()
        with torch.no_grad():
            trainer.D.score.bias.fill_(math.inf)
        with pytest.raises(FloatingPointError, match="D has weights that are not finite"):
            trainer.check_weights()


@pytest.fixture
def run(finished: Any) -> RunFolder:
    return RunFolder.at(finished.run)


def stats(run: RunFolder) -> list[dict[str, float]]:
    return [json.loads(line) for line in run.stats_path.read_text().splitlines()]


FIELDS = (
    "kimg lod resolution minibatch lr D_loss D_grad_norm G_loss G_grad_norm real_score fake_score "
    "penalty images_per_sec train_sec peak_memory_mb fake_spread real_spread"
)
TICKS = [0.064, 0.128, 0.192, 0.256, 0.32, 0.352]


class TestTick:
    def test_statistics_are_complete_and_finite(self, run: RunFolder) -> None:
        lines = stats(run)
        assert [line["kimg"] for line in lines] == TICKS
        for line in lines:
            assert sorted(line) == sorted(FIELDS.split())
            assert all(math.isfinite(value) for value in line.values())
        assert [line["lod"] for line in lines] == pytest.approx([2, 1, 1, 0, 0, 0])
        assert [line["resolution"] for line in lines] == [4, 8, 8, 16, 16, 16]
        assert [line["train_sec"] for line in lines] == sorted(line["train_sec"] for line in lines)

    def test_tensorboard_reads_them_by_nimg(self, run: RunFolder) -> None:
        board = EventAccumulator(str(run.path))
        board.Reload()
        lines = stats(run)
        assert sorted(board.Tags()["scalars"]) == sorted(FIELDS.split())
        for name in FIELDS.split():
            events = board.Scalars(name)
            assert [event.step for event in events] == [round(1000 * kimg) for kimg in TICKS]
            assert [event.value for event in events] == pytest.approx(
                [line[name] for line in lines]
            )

    def test_there_is_a_grid_of_every_tick(self, run: RunFolder) -> None:
        names = [path.name for path in sorted(run.samples.iterdir())]
        clocks = ["0.0", "0.1", "0.2", "0.3", "0.4"]  # names hold tenths
        assert names == [f"fakes-reals-00000{clock}.png" for clock in clocks]
        for path in run.samples.iterdir():
            with Image.open(path) as picture:
                assert picture.size == (480 + 8 + 480, 480)

    def test_the_last_grid_shows_g_ema_beside_reals(self, run: RunFolder, finished: Any) -> None:
        with Image.open(run.samples / "fakes-reals-000000.4.png") as picture:
            sheet = np.asarray(picture)[::5]
        generator, info = load_snapshot(run.snapshots_done()[-1][1], CPU)
        fakes = np.concatenate(list(generate(generator, range(36), lod=info.lod)))
        assert np.array_equal(sheet[16:32, 32 * 5 : 48 * 5 : 5], fakes[8].transpose(1, 2, 0))
        reals = finished.store.level(16)
        left = 488 + 32 * 5
        assert np.array_equal(sheet[16:32, left : left + 80 : 5], reals[8].transpose(1, 2, 0))

    def test_snapshots_come_every_second_tick_and_last(self, run: RunFolder) -> None:
        clocks = []
        for _, path in run.snapshots_done():
            _, info = load_snapshot(path, CPU)
            clocks.append((info.nimg, info.lod))
        assert clocks == [(128, 1.0), (256, 0.0), (352, 0.0)]

    def test_the_last_state_and_snapshot_agree(self, run: RunFolder) -> None:
        state = load_state(run.state_path)
        assert state is not None
        generator, _ = load_snapshot(run.snapshots_done()[-1][1], CPU)
        ema = state["networks"]["G_ema"]
        assert all(torch.equal(ema[name], w) for name, w in generator.state_dict().items())
        assert state["nimg"] == 352
