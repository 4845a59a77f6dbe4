"""RunConfig: data + networks + loss + optimiser + schedule of one run, frozen and hashable.

Symbols and defaults are the paper's (sections 2 and 3, appendix A.1). No torch here.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator


def _power_of_two(resolution: int) -> int:
    if resolution < 4 or resolution > 1024 or resolution & (resolution - 1):
        raise ValueError(f"resolution {resolution} is no power of two from 4 to 1024")
    return resolution


Resolution = Annotated[int, AfterValidator(_power_of_two)]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[float, Field(gt=0)]
Phase = Annotated[float, Field(ge=0.001)]  # one image
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Frozen(BaseModel):
    """A part of a configuration: immutable, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Frozen):
    """Which images the discriminator is shown."""

    name: str
    resolution: Resolution
    mirror: bool
    num_images: Count | None = None  # None: all that the store holds


class GeneratorConfig(Frozen):
    """The toggles of G; `nf(i) = min(fmap_base / 2**i, fmap_max)`.

    Of kind `modes` is table 4's with one convolution per resolution; leaky ReLU is steeper there.
    """

    resolution: Resolution
    kind: Literal["progressive", "modes"] = "progressive"
    latent_size: Count = 512
    normalize_latents: bool = True
    fmap_base: Count = 8192
    fmap_max: Count = 512
    activation: Literal["relu", "lrelu"] = "lrelu"
    batch_norm: bool = False
    pixelnorm: bool = True
    output: Literal["linear", "tanh"] = "linear"
    equalized_lr: bool = True


class DiscriminatorConfig(Frozen):
    """The toggles of D; `stddev_group` None takes the statistic over the whole minibatch.

    Blocks from the resolution `fused_from` up pool before the activation, as the fused layers of
    the released networks do; None: none does. Table 4's are of kind `modes`, or `growing-modes`
    with a fromRGB at every resolution, and may have batch norm, but no layer norm nor fused layers.
    """

    resolution: Resolution
    kind: Literal["progressive", "modes", "growing-modes"] = "progressive"
    fmap_base: Count = 8192
    fmap_max: Count = 512
    layer_norm: bool = False
    batch_norm: bool = False
    minibatch_layer: Literal["none", "stddev", "discrimination"] = "stddev"
    stddev_group: Count | None = None
    fused_from: Resolution | None = None
    equalized_lr: bool = True


class LossConfig(Frozen):
    """WGAN-GP with target gradient norm gamma and drift, or LSGAN with its noise."""

    kind: Literal["wgan-gp", "lsgan"] = "wgan-gp"
    gp_lambda: NotNegative = 10.0
    gamma: Positive = 1.0
    eps_drift: NotNegative = 1e-3


class OptimiserConfig(Frozen):
    """Adam for both networks; `ema` is the decay of G_ema per G step."""

    lr: Positive = 1e-3
    beta1: Fraction = 0.0
    beta2: Fraction = 0.99
    eps: Positive = 1e-8
    n_critic: Count = 1
    shared_step: bool = False  # G and D in one step from one shared batch of fakes
    ema: Fraction = 0.999
    rampup_kimg: NotNegative = 0.0

    @model_validator(mode="after")
    def _a_shared_step_is_one(self) -> Self:
        if self.shared_step and self.n_critic > 1:
            raise ValueError(f"a shared step has one D step, not n_critic {self.n_critic}; give 1")
        return self


class ScheduleConfig(Frozen):
    """The clock: phases of `train_kimg` then `fade_kimg` per resolution, if growing."""

    growing: bool = True
    train_kimg: Phase = 800.0
    fade_kimg: Phase = 800.0
    total_kimg: Positive = 19_000.0
    minibatch: Count = 16
    minibatch_at: tuple[tuple[Resolution, Count], ...] = ()  # exceptions, by resolution
    tick_kimg: Positive = 20.0
    snapshot_ticks: Count = 10


class NumericsConfig(Frozen):
    """Arithmetic of the convolutions; bfloat16 leaves statistics, penalty, updates in float32."""

    precision: Literal["float32", "tf32", "bfloat16"] = "float32"


class EvaluationConfig(Frozen):
    """Metric names taken at every snapshot, and at the last one."""

    snapshot: tuple[str, ...] = ()
    final: tuple[str, ...] = ()


class RunConfig(Frozen):
    """Everything that determines a run; its hash is part of the run's name."""

    artefact: str
    row: str
    profile: str
    seed: Seed = 0
    data: DataConfig
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    numerics: NumericsConfig = NumericsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _one_resolution(self) -> Self:
        data, g, d = (part.resolution for part in (self.data, self.generator, self.discriminator))
        if not data == g == d:
            raise ValueError(f"data, G and D have resolutions {data}, {g}, {d}; give them one")
        return self

    def to_json(self) -> dict[str, JsonValue]:
        """The config as plain JSON values, in the order of the fields."""
        plain: dict[str, JsonValue] = self.model_dump(mode="json")
        return plain

    @property
    def hash8(self) -> str:
        """Eight hexadecimal digits of the SHA-256 of the sorted JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def run_id(self) -> str:
        """artefact-row-dataset-profile-s<seed>-<hash8>, safe as a folder name."""
        row = self.row.replace("*", "-star").replace("/", "").replace(" ", "-")
        return f"{self.artefact}-{row}-{self.data.name}-{self.profile}-s{self.seed}-{self.hash8}"


Model = TypeVar("Model", bound=Frozen)


def replace(config: Model, /, **changes: Any) -> Model:
    """A validated copy of `config`; a dict given for a part changes only its named fields."""
    return type(config).model_validate(_merge(config.model_dump(), changes))


def _merge(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in changes.items():
        nested = isinstance(value, dict) and isinstance(old.get(name), dict)
        merged[name] = _merge(old[name], value) if nested else value
    return merged
