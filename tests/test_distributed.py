"""Two processes equal one with the whole minibatch; a lost one ends the others and costs no state.

Differences come from float32 sums alone: a mean of two means of 8 rounds otherwise than one of 16.
One process that works on two parts in turn rounds as two processes do, and equals them bit for bit.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgbench.checkpoint import load_state
from pgbench.config import RunConfig
from pgbench.crew import Crew
from pgbench.data import ImageStore
from pgbench.distributed import ALONE, Share, joined, joined_parts
from pgbench.layers import append_stddev
from pgbench.results import RunFolder

Command = Callable[..., Any]
TinyConfig = Callable[..., RunConfig]
Go = Callable[[str], tuple[list[list[int]], str]]
ROUNDING = 1e-4  # of weights that move by 2e-3 (row d) and 2e-2 (row g); found: 3e-5

# Processes as torchrun would start them, each a fork of one that has imported everything.
PROCESSES = """
import json, os, signal, sys, tempfile, traceback
from functools import partial
from pathlib import Path
import torch
from pgbench import cli, distributed, training
from pgbench.config import RunConfig
from pgbench.losses import LsganNoise
from pgbench.reproductions import launch
torch.set_num_threads(1)
torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
def host(pipe):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    os.write(pipe, str(store.port).encode())
    signal.alarm(300)
    signal.pause()
def together(size, act, told=None):
    answer, pipe = os.pipe()
    agent = os.fork()
    if not agent:
        host(pipe)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": os.read(answer, 9).decode()}
    place["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    pids = []
    for rank in range(size):
        pid = os.fork()
        if not pid:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
            os.environ.update(place, **{name: str(value) for name, value in names.items()})
            code = 99
            signal.alarm(300)  # never an orphan
            if told is not None:
                os.dup2(told.fileno(), 2)
            try:
                code = act(rank)
            except SystemExit as end:
                code = end.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(code or 0)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    os.kill(agent, signal.SIGKILL), os.waitpid(agent, 0)
    return codes
def at(number, owner, name, act):
    real, calls = getattr(owner, name), []
    def trapped(*arguments, **options):
        calls.append(name)
        if len(calls) == number:
            act()
        return real(*arguments, **options)
    setattr(owner, name, trapped)
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def run(rank, config, data, out):
    with distributed.joined("cpu") as world:
        status = launch.run(config, data=data, out=Path(out), device="cpu", world=world)
    return 0 if status.status == "done" else 1 if status.error else 130
"""


def state_of(config: RunConfig, out: Path) -> dict[str, Any]:
    state = load_state(out / config.run_id / "training-state.pt")
    assert state is not None
    del state["train_sec"]
    return state


def farthest(one: dict[str, Any], two: dict[str, Any]) -> float:
    """The largest difference of any two weights."""
    pairs = [
        (weight, two["networks"][name][key])
        for name, network in one["networks"].items()
        for key, weight in network.items()
    ]
    return max(float((a - b).abs().max()) for a, b in pairs)


def same(one: object, two: object) -> bool:
    """Whether two nests of dicts, lists and tensors are equal bit for bit."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return torch.equal(one, two)
    return type(one) is type(two) and one == two


class TestShare:
    @settings(deadline=None)
    @given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
    def test_every_image_is_in_one_share_beside_its_group(
        self, count: int, group: int, each: int
    ) -> None:
        groups = count * each
        batch = torch.arange(group * groups)
        shares = [Share(i, count, group).of(batch) for i in range(count)]
        assert sorted(torch.cat(shares).tolist()) == batch.tolist()
        for share in shares:
            assert len(share) == group * each
            assert (share.reshape(group, each) % groups == share[:each]).all()

    @settings(deadline=None)
    @given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
    def test_a_statistic_within_groups_is_that_of_the_whole_minibatch(
        self, count: int, group: int, each: int, seed: int
    ) -> None:
        rng = torch.Generator().manual_seed(seed)
        batch = torch.randn(group * count * each, 2, 3, 3, generator=rng)
        shares = [Share(i, count, group) for i in range(count)]
        parts = [append_stddev(share.of(batch), group) for share in shares]
        whole = append_stddev(batch, group)
        for part, share in zip(parts, shares, strict=True):
            torch.testing.assert_close(part, share.of(whole))
        torch.testing.assert_close(joined_parts(parts, group=group), whole)

    @settings(deadline=None)
    @given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 2))
    def test_a_share_of_a_share_is_a_smaller_share(
        self, count: int, splits: int, group: int, each: int
    ) -> None:
        batch = torch.arange(count * splits * group * each)
        for i in range(count):
            share = Share(i, count, group).of(batch)
            parts = [Share(p, splits, group).of(share) for p in range(splits)]
            direct = [Share(i * splits + p, count * splits, group).of(batch) for p in range(splits)]
            assert same(dict(enumerate(parts)), dict(enumerate(direct)))
            assert torch.equal(joined_parts(parts, group=group), share)

    def test_by_hand(self) -> None:
        batch = torch.arange(8)
        assert Share(0, 2).of(batch).tolist() == [0, 1, 2, 3]
        assert Share(1, 2).of(batch).tolist() == [4, 5, 6, 7]
        assert Share(0, 2, 4).of(batch).tolist() == [0, 2, 4, 6]  # image i is in group i mod 2
        assert Share(0, 1, 16).of(batch) is batch


def test_alone_a_world_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    value = torch.ones(3)
    with joined("cpu") as world:
        assert world == ALONE
        world.average([value])
        assert torch.equal(value, torch.ones(3))
        assert (world.any(True), world.any(False)) == (True, False)
        assert world.share(value) is value
        assert world.deal([value]) is value
        assert world.gather(value) == [value]


def test_what_travels_arrives_as_it_was(program: Command) -> None:
    text = """
def act(rank):
    with distributed.joined("cpu") as world:
        assert (world.rank, world.size) == (rank, 3)
        nest = {"a": [torch.arange(5), (None, 1.5, "x")], "b": torch.ones(0)}
        got = world.share(nest if rank == 0 else None)
        assert torch.equal(got["a"][0], torch.arange(5)) and got["a"][1] == (None, 1.5, "x")
        assert world.share() is None
        assert world.deal([] if rank else ["zero", "one", torch.tensor(2)]) in ("zero", "one", 2)
        answers = world.gather((rank, torch.full((rank,), rank)))
        assert [len(answer[1]) for answer in answers] == ([0, 1, 2] if rank == 0 else [])
        assert world.any(rank == 2) and not world.any(False)
        values = [torch.full((2, 2), float(rank)), torch.tensor(3.0 * rank)]
        world.average(values)
        assert values[0].eq(1).all() and values[1] == 3
print(together(3, act))
"""
    ended = program(PROCESSES + text)
    assert (ended.out, ended.err) == ("[0, 0, 0]\n", "")


def test_nothing_keeps_the_threads_of_a_group_that_was_left(program: Command) -> None:
    """One that gives back a tensor while the interpreter ends would abort it."""
    text = """
import weakref
def act(rank):
    with distributed.joined("cpu") as world:
        import torch._dynamo  # as optimisers do
        world.any(False)
        group = weakref.ref(torch.distributed.group.WORLD)
    assert group() is None
print(together(2, act))
"""
    early = "torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])\n"
    assert early in PROCESSES
    ended = program(PROCESSES.replace(early, "") + text)
    assert (ended.out, ended.err) == ("[0, 0]\n", "")


def test_a_crew_does_what_its_first_process_deals_out(program: Command) -> None:
    text = """
from pgbench.crew import Crew
def act(rank):
    with distributed.joined("cpu") as world:
        crew = Crew(world, lambda task: (rank, task.sum() if task is not None else None))
        if rank:
            crew.serve()
            return
        with crew.led():
            assert crew.size == 3
            assert crew.work([torch.ones(i) for i in (1, 2, 3)]) == [(0, 1), (1, 2), (2, 3)]
            assert crew.work([torch.ones(4)]) == [(0, 4)]
            assert crew.work([None, None]) == [(0, None), (1, None)]
print(together(3, act))
"""
    ended = program(PROCESSES + text)
    assert (ended.out, ended.err) == ("[0, 0, 0]\n", "")


def test_a_crew_of_one_does_it_alone() -> None:
    crew = Crew(ALONE, lambda task: task + 1)
    with crew.led() as same:
        assert same is crew
        assert (crew.size, crew.work([1]), crew.work([2])) == (1, [2], [3])


EQUAL: dict[str, dict[str, Any]] = {
    "row d": {"row": "d"},
    "grouped stddev": {
        "row": "g",
        "discriminator": {"stddev_group": 4},
        "schedule": {"total_kimg": 0.16},  # differences grow tenfold every 5 steps: 4e-7 at 0.08
    },
    "five critic steps": {"row": "d", "optimiser": {"n_critic": 5}, "schedule": {"minibatch": 4}},
    "a shared step": {"row": "d", "optimiser": {"shared_step": True}},
    "LSGAN with its noise": {
        "row": "d",
        "loss": {"kind": "lsgan"},
        "schedule": {"total_kimg": 0.08},  # then G finds where D's scores are 0, and all is chaos
    },
}
UNMEASURED = {"evaluation": {"snapshot": (), "final": ()}}


@pytest.fixture(scope="module")
def equal(tiny_config: TinyConfig) -> dict[str, RunConfig]:
    """The configurations of which no statistic crosses the minibatch."""
    return {name: tiny_config(**changes, **UNMEASURED) for name, changes in EQUAL.items()}


@pytest.fixture(scope="module")
def trained(
    equal: dict[str, RunConfig], tiny_store: ImageStore, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What one process leaves of each (in 1), two (in 2), and one in two parts (in parts).

    LSGAN is told that D learns badly, so that there is noise.
    """
    text = """
texts, data, out = sys.argv[1:]
class InParts(training.Trainer):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.splits = 2
def act(rank, config, where):
    if config.loss.kind == "lsgan":
        training.LsganNoise = partial(LsganNoise, 0.95)
    if where == "parts":
        launch.Trainer = InParts
    return run(rank, config, data, Path(out, where))
for text in json.loads(texts):
    config = RunConfig.model_validate_json(text)
    for where, size in {"1": 1, "2": 2, "parts": 1}.items():
        print(*together(size, partial(act, config=config, where=where)))
"""
    out = tmp_path_factory.mktemp("trained")
    texts = json.dumps([config.model_dump_json() for config in equal.values()])
    ended = run_program(PROCESSES + text, texts, tiny_store.path, out)
    assert ended.stdout.splitlines() == ["0", "0 0", "0"] * len(equal), ended.stderr
    return out


def run_program(text: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_equal_one_with_the_whole_minibatch(
    name: str, equal: dict[str, RunConfig], trained: Path
) -> None:
    one, two, parts = (state_of(equal[name], trained / where) for where in ("1", "2", "parts"))
    assert one["nimg"] == two["nimg"] >= 80
    assert torch.equal(one["rng"], two["rng"])
    assert (two.pop("splits"), parts.pop("splits")) == (1, 2)
    assert same(two, parts)
    assert two["noise"] == pytest.approx(one["noise"], rel=1e-5)
    assert (two["noise"] > 0) == name.startswith("LSGAN")
    assert farthest(one, two) < ROUNDING


@pytest.mark.slow
def test_only_the_first_process_writes(equal: dict[str, RunConfig], trained: Path) -> None:
    runs = [RunFolder.at(trained / size / equal["row d"].run_id) for size in ("1", "2")]
    one, two = ({path.name for path in run.path.rglob("*") if path.is_file()} for run in runs)
    events = "events.out.tfevents"
    assert {name for name in one if events not in name} == {
        name for name in two if events not in name
    }
    assert len([name for name in two if events in name]) == 1
    logs = [run.log_path.read_text().splitlines() for run in runs]
    assert len(logs[0]) == len(logs[1]) == 6  # ticks
    for run, processes in zip(runs, (1, 2), strict=True):
        (session,) = json.loads(run.environment_path.read_text())["sessions"]
        assert session["processes"] == processes


class TestResuming:
    """Row d: 22 steps, a tick every 4; the last state before step 6 is of step 4."""

    @pytest.fixture
    def go(self, equal: dict[str, RunConfig], tiny_store: ImageStore, tmp_path: Path) -> Go:
        """Run lines of Python with `go`, which runs row d in a number of processes with a trap."""
        prepare = """
config, data, out = RunConfig.model_validate_json(sys.argv[1]), sys.argv[2], sys.argv[3]
def go(size, trapped=None, trap=None):
    def act(rank):
        if rank == trapped:
            trap()
        return run(rank, config, data, out)
    print(together(size, act))
def on_step(number, act):
    return lambda: at(number, training.Trainer, "step", act)
def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
"""

        def go(lines: str) -> tuple[list[list[int]], str]:
            text, config = PROCESSES + prepare + lines, equal["row d"].model_dump_json()
            ended = run_program(text, config, tiny_store.path, tmp_path)
            return [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr

        return go

    @pytest.fixture
    def run(self, equal: dict[str, RunConfig], tmp_path: Path) -> RunFolder:
        return RunFolder(tmp_path / equal["row d"].run_id)

    @pytest.mark.slow
    def test_stopped_by_a_signal_to_any_of_them_it_ends_as_the_straight_run(
        self, go: Go, run: RunFolder, equal: dict[str, RunConfig], trained: Path
    ) -> None:
        codes, told = go("go(2, 1, on_step(6, terminate)); go(2)")
        assert codes == [[130, 130], [0, 0]]
        stopped = [line for line in told.splitlines() if not line.startswith("kimg ")]
        assert stopped == [
            f"{run.path} at 0.1 of 0.352 kimg was interrupted; the same command goes on from there"
        ]
        straight = state_of(equal["row d"], trained / "2")
        assert same(state_of(equal["row d"], run.path.parent), straight)

    @pytest.mark.slow
    def test_another_number_of_processes_goes_on(
        self, go: Go, run: RunFolder, equal: dict[str, RunConfig], trained: Path
    ) -> None:
        codes, _ = go("go(1, 0, on_step(6, terminate)); go(2, 0, on_step(6, terminate)); go(1)")
        assert codes == [[130], [130, 130], [0]]
        straight = state_of(equal["row d"], trained / "1")
        assert farthest(state_of(equal["row d"], run.path.parent), straight) < ROUNDING
        sessions = json.loads(run.environment_path.read_text())["sessions"]
        assert [session["processes"] for session in sessions] == [1, 2, 1]

    @pytest.mark.slow
    def test_lost_processes_end_the_others_and_cost_no_state(
        self, go: Go, run: RunFolder, equal: dict[str, RunConfig], trained: Path
    ) -> None:
        codes, told = go("go(2, 1, on_step(6, kill))")
        assert codes == [[1, -9]]
        status, state = run.read_status(), load_state(run.state_path)
        assert status is not None
        assert state is not None
        assert (status.status, status.kimg) == ("interrupted", 0.064)
        assert status.error == "another process of the run was lost"
        assert state["nimg"] == 64
        *ticks, last = told.splitlines()
        assert all(line.startswith("kimg ") for line in ticks)
        assert last == (
            f"{run.path} at 0.1 of 0.352 kimg was interrupted: another process of the run was "
            "lost; the same command goes on from there"
        )
        codes, told = go("go(2, 0, on_step(6, kill)); go(2)")
        assert codes == [[-9, 1], [0, 0]]
        assert all(line.startswith("kimg ") for line in told.splitlines()), told
        straight = state_of(equal["row d"], trained / "2")
        assert same(state_of(equal["row d"], run.path.parent), straight)


@pytest.fixture(scope="module")
def ended(
    tiny_store: ImageStore, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[list[int], str]]:
    """By what was wrong, the exit codes and what was on stderr."""
    text = """
from dataclasses import replace
from pgbench.reproductions import table1
few = {"num_images": None, "snapshot_metrics": ("swd64",), "final_metrics": ()}
table1.SCALES["smoke"] = replace(table1.SCALES["smoke"], **few)
data, out = sys.argv[1:]
def go(what, size, data, out, trap=lambda rank: None):
    def act(rank):
        trap(rank)
        fixed = "run ablation --row d --profile smoke --device cpu".split()
        sys.argv = ["pgbench", *fixed, "--data", data, "--out", out]
        cli.main()
    with tempfile.TemporaryFile("w+") as told:
        codes = together(size, act, told)
        told.seek(0)
        print(json.dumps([what, [codes, told.read()]]))
def lacking(rank):
    if rank:
        launch.open_dataset = lambda *_, **__: open("/nope")
go("no data", 2, "nope", out + "/a")
go("minibatch", 3, data, out + "/b")
go("second process", 2, data, out + "/c", lacking)
Path(out, "config.json").touch()
go("first process", 2, data, out)
"""
    out = tmp_path_factory.mktemp("errors")
    ended = run_program(PROCESSES + text, tiny_store.path, out)
    assert ended.stderr == ""
    return dict(map(json.loads, ended.stdout.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "codes", "why"),
    [
        ("no data", [2, 2], "Error: there is no data set 'nope'; the built-in ones are "),
        ("first process", [2, 2], " is itself a run folder; choose another --out"),
        (
            "minibatch",
            [2, 2, 2],
            "Error: a minibatch of 16 in groups of 1 cannot be shared by 3 processes; "
            "start another number of them",
        ),
        (
            "second process",
            [1, 2],
            "was interrupted: process 1: [Errno 2] No such file or directory: '/nope'; the "
            "same command goes on from there",
        ),
    ],
)
def test_errors_are_one_sentence_of_the_first_process(
    what: str, codes: list[int], why: str, ended: dict[str, tuple[list[int], str]]
) -> None:
    found, told = ended[what]
    assert found == codes
    assert told.count("\n") == 1, told
    assert why in told


def test_processes_that_do_not_find_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match="RANK expected, but not set"), joined("cpu"):
        pass
