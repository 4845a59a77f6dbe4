"""Adam's updates are those of torch, bit for bit."""

import torch

from pgbench.adam import update


def make_adam(*, lr: float = 1e-3) -> torch.optim.Adam:
    rng = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (7,), (2, 3, 4, 4), (1000,)]
    weights = [torch.nn.Parameter(torch.randn(shape, generator=rng)) for shape in shapes]
    return torch.optim.Adam(weights, lr, (0.0, 0.99), 1e-8, fused=True)


def set_gradients(adam: torch.optim.Adam, seed: int) -> None:
    """All but the second weight have one, which is not active."""
    rng = torch.Generator().manual_seed(seed)
    for i, weight in enumerate(adam.param_groups[0]["params"]):
        gradient = torch.randn(weight.shape, generator=rng)
        weight.grad = None if i == 1 else gradient


def test_updates_are_those_of_step():
    ours, theirs = make_adam(), make_adam()
    for seed in range(5):
        for adam in (ours, theirs):
            adam.param_groups[0]["lr"] = 1e-3 / (seed + 1)
            set_gradients(adam, seed)
        update(ours)
        theirs.step()
        assert_equal(ours, theirs)


def test_updates_go_on_from_a_saved_state():
    ours, theirs = make_adam(), make_adam()
    for adam in (ours, theirs):
        set_gradients(adam, 1)
        adam.step()
    resumed = make_adam()
    resumed.load_state_dict(ours.state_dict())
    for new, old in zip(weights_of(resumed), weights_of(ours), strict=True):
        new.data.copy_(old.data)
    for adam in (resumed, theirs):
        set_gradients(adam, 2)
    update(resumed)
    theirs.step()
    assert_equal(resumed, theirs)


def test_cleared_states_start_afresh():
    ours, theirs = make_adam(), make_adam()
    for seed in range(3):
        for adam in (ours, theirs):
            adam.state.clear()
            set_gradients(adam, seed)
        update(ours)
        theirs.step()
        assert_equal(ours, theirs)


def weights_of(adam: torch.optim.Adam) -> list[torch.nn.Parameter]:
    return list(adam.param_groups[0]["params"])


def assert_equal(ours: torch.optim.Adam, theirs: torch.optim.Adam) -> None:
    for one, other in zip(weights_of(ours), weights_of(theirs), strict=True):
        assert torch.equal(one, other)
        assert ours.state.get(one, {}).keys() == theirs.state.get(other, {}).keys()
        for name, value in theirs.state.get(other, {}).items():
            assert torch.equal(ours.state[one][name], value)
