"""What the docs take from `multires bench hvae --json analysis/records/bench-hvae.json`: the tables of docs/hvaes.md."""

import json
from pathlib import Path

import markdown_tables

from analysis import provenance
from analysis.bench_hvae import PUBLISHED, RUNS
from analysis.hvae_work import CASES, NETWORKS, THREADS
from analysis.undone import BY_TENSOR, UNDONE

RECORD = Path(__file__).parents[1] / "analysis/records/bench-hvae.json"


def tables() -> str:
    """Beside the plain reading; what one thing undone costs; throughput and memory of the presets."""
    record = json.loads(RECORD.read_text())
    values = {row["case"]: row["value"] for row in record["rows"] if "value" in row}
    beside = [
        [
            row["case"].replace(", colour", ""),
            f"{1e3 * row['ours_s']:.0f}",
            f"{1e3 * row['peers']['plain']:.0f}",
            f"{row['ratio']:.2f}",
        ]
        for row in record["rows"]
        if row["ratio"] is not None
    ]
    undone = [
        [
            name,
            *(
                f"{values[case]:.2f}" if (case := f"{of}, colour: {name} / as it is") in values else "-"
                for of in ("training step", "sampling")
            ),
        ]
        for name in (*UNDONE, BY_TENSOR)
    ]
    shares = [f"{part} {values[f'training step, colour: {part}, %']:.0f} %" for part in ("forward", "backward", "optimiser")]
    compiling = [f"{case} {values[name]:.0f} s" for case in CASES if (name := f"compiling, colour: {case}, s") in values]
    memory = [
        [case, *(_whole(values.get(f"peak memory, colour: {case}, MiB above the built network, {of}")) for of in NETWORKS)]
        for case in CASES
    ]
    presets = RUNS | PUBLISHED
    rates = [
        [
            name,
            str(run.training.batch),
            *(_rate(values.get(f"{name}: {case}, images/s, batch {run.training.batch}")) for case in CASES),
        ]
        for name, run in presets.items()
    ]
    sizes = [[name, *(_whole(values.get(f"{name}: {case}, MiB above the built network")) for case in CASES)] for name in presets]
    parts = [
        f"On {THREADS} threads:\n",
        markdown_tables.table(["colour", "ours, ms", "plain, ms", "ratio"], beside),
        f"Shares of a training step: {', '.join(shares)}. Compiling, where nothing is cached: {', '.join(compiling) or '-'}.\n",
        "The most memory above the built network, MiB:\n",
        markdown_tables.table(["colour", *NETWORKS], memory),
        "One thing undone, its time over the time as it is:\n",
        markdown_tables.table(["undone", "training step", "sampling"], undone),
        "Images a second:\n",
        markdown_tables.table(["preset", "batch", *CASES], rates),
        "The most memory above the built network, MiB, with the same batches (0: no more than building it took):\n",
        markdown_tables.table(["preset", *CASES], sizes),
    ]
    return "\n".join(parts) + f"\nMeasured with {provenance.made(record)}.\n"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
