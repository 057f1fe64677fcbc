"""`make bench`: every number that this project claims, measured here and now beside a peer or a limit.

Exit status: 0 measured, whether or not the goals are met; 1 something could not be measured, and the table says why; 2
wrong usage.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract.errors import SolarshedError
from tests.bench.chart import write_chart
from tests.bench.table import Measured, NotMeasuredError, Row, table

# In the order of their goals; each is a module here, with `measure(quick)`.
BENCHES = (
    "processes",
    "reaction",
    "decoding",
    "drain",
    "store",
    "heartbeats",
    "imports",
    "years",
    "first_point",
    "cost",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("only", nargs="*", metavar="BENCH", help=f"of {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write bench.json and bench.png there")
    parser.add_argument(
        "--quick", action="store_true", help="a few rounds of each: whether it runs, not what it measures"
    )
    args = parser.parse_args(arguments)
    if unknown := set(args.only) - set(BENCHES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    chosen = [name for name in BENCHES if not args.only or name in args.only]

    surroundings = _surroundings()
    began_s = time.monotonic()
    rows: list[Row] = []
    not_measured: list[tuple[str, str]] = []
    for number, name in enumerate(chosen, 1):
        print(f"[{number} of {len(chosen)}, {time.monotonic() - began_s:.0f} s] {name}", file=sys.stderr, flush=True)
        try:
            measured: Measured = importlib.import_module(f"tests.bench.{name}").measure(quick=args.quick)
        except (NotMeasuredError, SolarshedError, OSError) as e:
            print(f"{name} not measured: {e}", file=sys.stderr, flush=True)
            not_measured.append((name, str(e).splitlines()[0] if str(e) else type(e).__name__))
            continue
        rows += measured.rows
        if measured.not_measured:
            not_measured.append((name, measured.not_measured))
        if measured.details:
            print(f"{name}\n{'=' * len(name)}\n{measured.details}\n", flush=True)
    surroundings["took_s"] = round(time.monotonic() - began_s)
    rows.sort(key=lambda row: row.number)

    print(_in_words(surroundings, quick=args.quick))
    print()
    print(table(rows, not_measured))
    if args.output is not None and rows:
        args.output.mkdir(parents=True, exist_ok=True)
        content = {
            "surroundings": surroundings,
            "quick": args.quick,
            "rows": [row.as_json() for row in rows],
            "not_measured": dict(not_measured),
        }
        (args.output / "bench.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        write_chart(args.output / "bench.png", rows, _in_words(surroundings, quick=args.quick))
    return 1 if not_measured else 0


def _surroundings() -> dict[str, Any]:
    """The machine, and what else it does: a number is worth as much as that says."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def _in_words(surroundings: dict[str, Any], *, quick: bool) -> str:
    return (
        f"{surroundings['date']}, {surroundings['cores']} cores ({surroundings['processor']}), "
        f"Python {surroundings['python']}, load average {surroundings['load_before']} before it began, "
        f"{surroundings['took_s']} s in all" + (" (quick: nothing here counts as measured)" if quick else "")
    )


if __name__ == "__main__":
    sys.exit(main())
