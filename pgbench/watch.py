"""A watch over the statistics of a training: says when a run looks as if it diverged or collapsed.

A WGAN-GP fails in three ways that its statistics show before its weights cease to be finite:
gradients explode, scores run away from zero (appendix A.1's drift term keeps them), and G answers
every latent with one image (section 3). Nothing is random and nothing is stored: the state follows
from the lines of stats.jsonl, so that a resumed run warns as an uninterrupted one does.

The thresholds were chosen by table 1's rows (a) to (h) at `smoke` and `desktop`. In none of the
runs of docs/results, on portraits and scenes,

- was a gradient norm more than 2.9 times the median of the ticks before that it is compared with;
  the limit is 20 times.
- was the mean score of reals beyond 8.5 on either side, or that of fakes beyond 19. The limit is
  100, where the drift term 0.001 D(x)^2 costs 10, but at least 10 times the gap between reals and
  fakes: that is the scale of scores, and larger for larger images and other gradient targets.
- was the spread of the samples below 0.20 of that of the reals. The limit is a tenth
  after the first phase; before, samples are noise or grey.

A tick at which the resolution or the fade changed is not judged by gradients or scores and joins
no median: its statistics may be of both sides. Nor do values that were warned of, so that a lasting
explosion does not become the usual. Growth spread over many ticks the medians follow: it is not
told before the scores are adrift.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median

from pydantic_core import from_json

_TICKS = 20  # of the medians
_GRADIENT_FACTOR = 20.0
_SCORE_BOUND = 100.0
_SCORE_FACTOR = 10.0
_SPREAD_FRACTION = 0.1


class Watch:
    """Warnings for a run, tick by tick; each is given once until what it is about recovers."""

    def __init__(self, past: Iterable[bytes], *, first_phase_kimg: float) -> None:
        """`past`: the lines of stats.jsonl of the ticks before; damaged ones are left out."""
        self._first_phase_kimg = first_phase_kimg
        self._phase: tuple[float, bool] | None = None
        self._usual: dict[str, deque[float]] = {}
        self._warned: set[str] = set()
        for line in past:
            self.warnings(_parsed(line))

    def warnings(self, stats: Mapping[str, object]) -> list[str]:
        """What there is to warn of at the tick with these statistics, a sentence each."""
        values = _numbers(stats)
        if not values.keys() >= {"kimg", "lod", "resolution"}:
            return []
        found = self._spread(values)
        if self._follow(values["resolution"], values["lod"] % 1 > 0):
            found |= self._gradients(values) | self._scores(values)
        new = [text for name, text in found.items() if text and name not in self._warned]
        self._warned -= found.keys()
        self._warned |= {name for name, text in found.items() if text}
        return [f"At kimg {values['kimg']:.1f} {text}; look at its samples." for text in new]

    def _follow(self, resolution: float, fading: bool) -> bool:
        """Begin the medians anew at another resolution; whether the tick is of one phase."""
        before, self._phase = self._phase, (resolution, fading)
        if before is None or before[0] != resolution:
            self._usual = {}
        return before == self._phase

    def _gradients(self, values: Mapping[str, float]) -> dict[str, str]:
        """By statistic what is wrong with it, empty when nothing is."""
        found = {}
        for network in ("D", "G"):
            name = f"{network}_grad_norm"
            if name not in values:
                continue
            value, usual, found[name] = values[name], self._median(name), ""
            if 0 < _GRADIENT_FACTOR * usual < value:
                found[name] = (
                    f"the gradient norm of {network} is {value:.3g}, {value / usual:.3g} times its "
                    f"median at {values['resolution']:.0f}x{values['resolution']:.0f}, so that the "
                    "run may be diverging"
                )
            else:
                self._remember(name, value)
        return found

    def _scores(self, values: Mapping[str, float]) -> dict[str, str]:
        if not values.keys() >= {"real_score", "fake_score"}:
            return {}
        real, fake, usual = values["real_score"], values["fake_score"], self._median("gap")
        score, images = (real, "reals") if abs(real) >= abs(fake) else (fake, "fakes")
        if abs(score) > _SCORE_BOUND and abs(score) > _SCORE_FACTOR * usual:
            return {
                "score": f"the mean score of {images} is {score:.3g} where {usual:.3g} is the "
                "usual gap between reals and fakes, so that D may be adrift"
            }
        self._remember("gap", abs(real - fake))
        return {"score": ""}

    def _spread(self, values: Mapping[str, float]) -> dict[str, str]:
        if not values.keys() >= {"fake_spread", "real_spread"}:
            return {}
        fake, real = values["fake_spread"], values["real_spread"]
        if values["kimg"] <= self._first_phase_kimg or fake >= _SPREAD_FRACTION * real:
            return {"spread": ""}
        return {
            "spread": f"the samples differ by {fake:.3g} and reals by {real:.3g} (standard "
            "deviation), so that G may have collapsed"
        }

    def _median(self, name: str) -> float:
        """The usual value, NaN when there is none yet."""
        return median(self._usual.get(name) or [math.nan])

    def _remember(self, name: str, value: float) -> None:
        self._usual.setdefault(name, deque(maxlen=_TICKS)).append(value)


def _parsed(line: bytes) -> Mapping[str, object]:
    try:
        stats = from_json(line)
    except ValueError:
        return {}
    return stats if isinstance(stats, dict) else {}


def _numbers(stats: Mapping[str, object]) -> dict[str, float]:
    """Those that are finite."""
    numbers = {name: value for name, value in stats.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if -1e300 < value < 1e300}
