"""How long a report of many runs takes and how much memory: from nothing, unchanged, one run more.

`python benchmarks/report.py`; on quiet cores. Makes 500 runs of 50 snapshots with 8 values each,
200 ticks of statistics and 3 sample grids of 128x128 in a temporary folder, and builds their whole
report (tables, figures, pictures, pages) in processes of their own. The grids of the runs are the
same file, which nothing notices.
"""

import json
import math
import os
import random
import subprocess
import sys
import tempfile
from itertools import islice, product
from pathlib import Path

import numpy as np
from PIL import Image

from pgbench.results import Record, RunFolder, RunStatus

RUNS = 500
SNAPSHOTS = 50
TICKS = 200
GRIDS = (0.0, 5000.0, 10_000.0)  # kimg
TOTAL_KIMG = 10_000
ROWS = ("a", "b", "c", "d", "e*", "e", "f", "g", "h")
KEYS = {"swd16k": ("128", "64", "32", "16", "avg"), "msssim10k": ("msssim",)}
KEYS |= {"is50k": ("is_mean", "is_std")}
PROTOCOL = {
    **{"resolution": 128, "levels": [128, 64, 32, 16], "num_reals": 16384, "num_fakes": 16384},
    **{"patches_per_image": 128, "patch_size": 7, "positions": "uniform, shared by both sets"},
    **{"num_directions": 512, "directions": "4 orthonormal blocks of 128, independent per level"},
    **{"normalisation": "per set and channel", "scale": 1000.0, "mirror": True, "metric_seed": 0},
    **{"dtype": "float32, sums float64", "fake_seeds": "0-16383", "phase_kimg": "800/800"},
}
SESSION = {"device": "NVIDIA H100", "python": "3.12", "torch": "2.7", "threads": 8}
MEASURED = """
import resource, sys, time
started = time.perf_counter()
from pathlib import Path
from pgbench.cli_report import write_report
write_report(Path(sys.argv[1]), Path(sys.argv[2]))
ended = time.perf_counter()
assert "torch" not in sys.modules
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{ended - started:.2f} s, {time.process_time():.2f} s of CPU, {peak:.0f} MiB at most")
"""


def write_run(results: Path, row: str, dataset: str, seed: int, *, grid: Path) -> RunFolder:
    """A finished run of table 1."""
    config = {"artefact": "table1", "row": row, "profile": "paper", "seed": seed}
    config |= {"data": {"name": dataset, "resolution": 128}}
    config |= {"schedule": {"total_kimg": TOTAL_KIMG}}
    run_id = f"table1-{row.replace('*', '-star')}-{dataset}-paper-s{seed}"
    run = RunFolder.open(results, run_id, json.loads(json.dumps(config)))
    done = {"status": "done", "kimg": TOTAL_KIMG, "total_kimg": TOTAL_KIMG, "wall_sec": 3600}
    run.write_status(RunStatus.model_validate(done))
    run.environment_path.write_text(json.dumps({"sessions": [SESSION]}))
    for kimg in GRIDS:
        os.link(grid, run.samples / f"fakes-reals-{kimg:08.1f}.png")
    rng = random.Random(run_id)
    run.metrics_path.write_text("\n".join(_records(run_id, row, dataset, seed, rng=rng)) + "\n")
    run.stats_path.write_text("\n".join(map(json.dumps, _ticks(rng))) + "\n")
    return run


def _records(run_id: str, row: str, dataset: str, seed: int, *, rng: random.Random) -> list[str]:
    common = {"run_id": run_id, "artefact": "table1", "row": row, "dataset": dataset}
    common |= {"dataset_fingerprint": "0" * 64, "resolution": 128, "profile": "paper"}
    common |= {"seed": seed, "stderr": 0.05, "num_images": 16384, "metric_version": 2}
    common |= {"protocol": PROTOCOL, "wall_sec": 49.0, "status": "ok", "error": None}
    lines = []
    for snapshot, (metric, keys) in product(range(1, SNAPSHOTS + 1), KEYS.items()):
        clock = {"kimg": TOTAL_KIMG * snapshot / SNAPSHOTS, "metric": metric}
        for key in keys:
            fields = common | clock | {"key": key, "value": rng.uniform(2, 60)}
            lines.append(Record.model_validate(fields).model_dump_json(by_alias=True))
    return lines


def _ticks(rng: random.Random) -> list[dict[str, float]]:
    names = ("D_loss", "G_loss", "real_score", "fake_score", "penalty", "D_grad_norm")
    return [
        {
            **{"kimg": TOTAL_KIMG * tick / TICKS, "train_sec": 3600 * tick / TICKS},
            **{"lod": max(0.0, 5 - 6 * tick / TICKS), "minibatch": 16, "lr": 1e-3},
            **{"resolution": 2 ** min(7, 2 + math.ceil(6 * tick / TICKS)), "G_grad_norm": 1.0},
            **{name: rng.gauss(0, 1) ** 2 for name in names},
        }
        for tick in range(1, TICKS + 1)
    ]


def write_grid(path: Path) -> Path:
    """Two sheets of 6x6 smooth pictures with a little noise, as large as a run's own."""
    rng = np.random.default_rng(0)
    sheet = Image.new("RGB", (2 * 768 + 8, 768), "white")
    for place in range(72):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize((128, 128), Image.Resampling.BICUBIC), np.float64)
        noisy = np.clip(smooth + rng.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)
        x = place % 12 * 128 + (8 if place % 12 >= 6 else 0)
        sheet.paste(Image.fromarray(noisy), (x, place // 12 * 128))
    sheet.save(path)
    return path


def built(results: Path, out: Path) -> str:
    """Build the report in a fresh process: seconds and memory, in words."""
    command = [sys.executable, "-c", MEASURED, str(results), str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results, out = Path(folder) / "results", Path(folder) / "out"
        grid = write_grid(Path(folder) / "grid.png")
        places = product(range(RUNS), ("celeba", "lsun-bedroom"), ROWS)
        for seed, dataset, row in islice(places, RUNS):
            write_run(results, row, dataset, seed, grid=grid)
        print(f"{RUNS} runs, {RUNS * SNAPSHOTS * 8} records, {RUNS * TICKS} ticks")
        print(f"from nothing: {built(results, out)}")
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
        print(f"  {sum(path.is_file() for path in out.rglob('*'))} files, {size:.0f} MB")
        print(f"unchanged: {built(results, out)}")
        write_run(results, "g", "celeba", RUNS, grid=grid)
        print(f"one run more: {built(results, out)}")


if __name__ == "__main__":
    main()
