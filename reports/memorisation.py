"""What `pgbench neighbours` found: the training images nearest to samples, in words."""

import statistics
from pathlib import Path

from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from pgbench.reports.canvas import titled
from pgbench.reports.sample_grids import read_png

GAP = 8  # pixels between a sample and its neighbours


class _Neighbour(BaseModel):
    distance: float = Field(ge=0, le=255)


class _Found(BaseModel):
    nearest: list[_Neighbour] = Field(min_length=1)


class Neighbours(BaseModel):
    """What neighbours.json says, as far as it is told here."""

    kimg: float = Field(ge=0, allow_inf_nan=False)
    level: int = Field(ge=1, le=2**20)
    num_training_images: int = Field(ge=1, le=2**53)
    samples: list[_Found] = Field(min_length=1)
    reals: list[_Found] = Field(min_length=1)
    reals_held_out: bool

    @property
    def nearest(self) -> int:
        """How many neighbours each sample has."""
        return len(self.samples[0].nearest)

    def in_words(self) -> str:
        """The distances of samples beside those of reals."""
        samples, reals = (
            statistics.median(one.nearest[0].distance for one in found)
            for found in (self.samples, self.reals)
        )
        scale = (
            "reals that were not trained on"
            if self.reals_held_out
            else "training images, to the nearest other one"
        )
        return (
            f"Nearest of {self.num_training_images} training images, by the root mean square "
            f"difference of 8-bit values at {self.level}x{self.level}: median {samples:.2f} for "
            f"{len(self.samples)} samples, {reals:.2f} for {len(self.reals)} {scale}. Samples far "
            "nearer than reals would be memorised."
        )


def read_neighbours(path: Path) -> Neighbours:
    """The content of a neighbours.json; ValueError when it is damaged."""
    try:
        return Neighbours.model_validate_json(path.read_bytes())
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"])) or "JSON"
        raise ValueError(f"{path} is damaged ({field}: {error.errors()[0]['msg']})") from error


def labelled_neighbours(path: Path, neighbours: Neighbours) -> Image.Image:
    """The neighbours.png at `path` with what its columns are."""
    picture = read_png(path)
    edge = (picture.width - GAP) // (1 + neighbours.nearest)
    return titled(picture, [(0, "sample"), (edge + GAP, "nearest training images")])
