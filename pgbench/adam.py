"""Adam's updates of small networks: to find and group the weights takes longer than to update them.

torch does so at every step; here what is there is passed on as it is.
"""

import torch
from torch import Tensor

from pgbench.config import OptimiserConfig


def fused(weights: list[Tensor], config: OptimiserConfig) -> torch.optim.Adam:
    """Of one group of weights, without decay."""
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(weights, config.lr, betas, config.eps, fused=True)


@torch.no_grad()
def update(adam: torch.optim.Adam) -> None:
    """`adam.step()` of a `fused` one with float32 weights, bit for bit.

    Gradients must lie in memory as their weights do: torch does not look.
    """
    (group,) = adam.param_groups
    weights = [weight for weight in group["params"] if weight.grad is not None]
    states = [adam.state.get(weight, {}) for weight in weights]
    if weights[0].device.type != "cpu" or not all(states):  # the first step makes the states
        adam.step()
        return
    steps = [state["step"] for state in states]
    torch._foreach_add_(steps, 1)
    torch._fused_adam_(
        weights,
        [weight.grad for weight in weights],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        steps,
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=0.0,
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )
