"""How long a report of many runs takes and how much memory: in full, and when one run changed.

`python benchmarks/report.py`; on quiet cores. Makes 500 runs of 50 snapshots, 8 values each, in a
temporary folder, and builds their report twice in processes of their own.
"""

import json
import random
import subprocess
import sys
import tempfile
from itertools import islice, product
from pathlib import Path

from pgbench.results import Record, RunFolder, RunStatus

RUNS = 500
SNAPSHOTS = 50
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
MEASURED = """
import resource, sys, time
started = time.perf_counter()
from pathlib import Path
from pgbench.reports.build import build
imported = time.perf_counter()
build(Path(sys.argv[1]), Path(sys.argv[2]))
ended = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{ended - started:.2f} s ({imported - started:.2f} s of imports), "
      f"{time.process_time():.2f} s of CPU, {peak:.0f} MiB at most")
"""


def write_run(results: Path, row: str, dataset: str, seed: int) -> Path:
    """A finished run of table 1; returns its records."""
    config = {"artefact": "table1", "row": row, "profile": "paper", "seed": seed}
    config |= {"data": {"name": dataset, "resolution": 128}, "schedule": {"total_kimg": 10_000}}
    run_id = f"table1-{row.replace('*', '-star')}-{dataset}-paper-s{seed}"
    run = RunFolder.open(results, run_id, json.loads(json.dumps(config)))
    run.write_status(RunStatus(status="done", kimg=10_000, total_kimg=10_000, wall_sec=3600))
    rng = random.Random(seed)
    common = {"run_id": run_id, "artefact": "table1", "row": row, "dataset": dataset}
    common |= {"dataset_fingerprint": "0" * 64, "resolution": 128, "profile": "paper"}
    common |= {"seed": seed, "stderr": 0.05, "num_images": 16384, "metric_version": 2}
    common |= {"protocol": PROTOCOL, "wall_sec": 49.0, "status": "ok", "error": None}
    lines = []
    for snapshot, (metric, keys) in product(range(1, SNAPSHOTS + 1), KEYS.items()):
        clock = {"kimg": 10_000 * snapshot / SNAPSHOTS, "metric": metric}
        for key in keys:
            fields = common | clock | {"key": key, "value": rng.uniform(2, 60)}
            lines.append(Record.model_validate(fields).model_dump_json(by_alias=True))
    run.metrics_path.write_text("\n".join(lines) + "\n")
    return run.metrics_path


def built(results: Path, out: Path) -> str:
    """Build the report in a fresh process: seconds and memory, in words."""
    command = [sys.executable, "-c", MEASURED, str(results), str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results, out = Path(folder) / "results", Path(folder) / "out"
        places = product(range(RUNS), ("celeba", "lsun-bedroom"), ROWS)
        written = [
            write_run(results, row, dataset, seed) for seed, dataset, row in islice(places, RUNS)
        ]
        size = sum(path.stat().st_size for path in written) / 1e6
        print(f"{RUNS} runs, {RUNS * SNAPSHOTS * 8} records, {size:.0f} MB")
        print(f"in full: {built(results, out)}")
        with written[-1].open("a") as file:
            file.write(
                written[-1].read_text().splitlines()[-1].replace('"value":', '"value":1') + "\n"
            )
        print(f"one run changed: {built(results, out)}")


if __name__ == "__main__":
    main()
