"""Weights for torch-fidelity's Inception network that need no download."""

import pytest
import torch


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory):
    """Seeded random weights of a scale that keeps activations alive through all layers."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, state):
            pass

    folder = tmp_path_factory.mktemp("inception")
    torch.save({}, folder / "none.pth")
    with torch.random.fork_rng(devices=[]):
        network = Unloaded(
            "inception", ["2048"], feature_extractor_weights_path=str(folder / "none.pth")
        )
    rng = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for value in state.values():
        if value.ndim >= 2:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=rng)
    state["fc.weight"] *= 100  # answers that differ from image to image
    state["fc.bias"].normal_(0, 1, generator=rng)
    torch.save(dict(state), folder / "seeded.pth")
    return folder / "seeded.pth"
