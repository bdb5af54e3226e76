"""What the command shows on a terminal: the table of claims, the table of a benchmark, progress on standard error."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn, track
from rich.table import Table
from rich.text import Text

from analysis.evidence import Result
from analysis.record import Run
from analysis.runs import Run as TrainingRun
from multires.training import Evaluated, Record, Step, processes

Item = TypeVar("Item")
STYLES = {"supported": "green", "not supported": "bold red", "skipped": "yellow"}
SILENCE = 60.0  # seconds without a line in a log
PLAIN_WIDTH = 132  # where standard output is a file or a pipe


def stderr() -> Console:
    """A console for progress."""
    return Console(stderr=True)


def progress(items: Iterable[Item], total: int | None, doing: str, told: Callable[[Item], str] | None = None) -> Iterator[Item]:
    """Pass items on with a bar on standard error; where that is no terminal, with a line for each that ends a long silence.

    `told` says what there is to say of an item.
    """
    if sys.stderr.isatty():
        yield from track(items, doing, total, console=stderr(), transient=True)
        return
    before = time.monotonic()
    for number, item in enumerate(items, 1):
        if time.monotonic() - before > SILENCE:
            said = f"{doing}: {number}" + (f" of {total}" if total else "") + (f", {told(item)}" if told else "")
            print(said, file=sys.stderr, flush=True)
            before = time.monotonic()
        yield item


def training_progress(records: Iterable[Record], total: int, doing: str = "training") -> Iterator[Record]:
    """Pass a training's records on with a bar that shows the loss; where there is no terminal, with a line at each evaluation."""
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, console=stderr(), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(doing, total=total, loss="")
        for record in records:
            bar.update(task, completed=record.step)
            if isinstance(record, Step):
                bar.update(task, loss=f"loss {record.loss:.3g}")
            _log(doing, record, total)
            yield record


def study_progress(records: Iterable[tuple[str, Record]], grid: Mapping[str, TrainingRun], names: list[str]) -> Iterator[Record]:
    """Pass the records of a study's runs on, with a bar over the steps of all of them; in a log, a line at each evaluation."""
    ends = np.cumsum([0, *(grid[name].training.steps for name in names)])
    with Progress(console=stderr(), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("training", total=int(ends[-1]))
        for name, record in records:
            bar.update(task, description=name, completed=int(ends[names.index(name)]) + record.step)
            _log(f"{name}, {names.index(name) + 1} of {len(names)}", record, grid[name].training.steps)
            yield record


def _log(doing: str, record: Record, total: int) -> None:
    """A line on standard error where that is a file, as in the jobs of a cluster."""
    if isinstance(record, Evaluated) and not sys.stderr.isatty() and processes().is_main_process:
        print(f"{doing}: step {record.step} of {total}, test loss {record.test_loss:.4g}", file=sys.stderr, flush=True)


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of texts; where they are too wide for the terminal, cells take several lines, and nothing is cut."""
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    stdout().print(table)


def stdout() -> Console:
    """A console for results, as wide as the terminal, or PLAIN_WIDTH where there is none."""
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def scientific(value: float) -> str:
    """Three significant digits: 0 as 0, 1.2e-16, 0.71."""
    return f"{value:.2g}" if 1e-2 <= abs(value) < 1e4 or value == 0 else f"{value:.1e}"


def _row(result: Result) -> list[str]:
    evidence = result.evidence
    if evidence is None or not evidence.checks or not evidence.controls:
        return ["-", "-", "-"]
    worst, weakest = evidence.worst, evidence.weakest
    return [
        scientific(worst.measured),
        f"<= {scientific(worst.bound)}",
        f"{scientific(weakest.measured)} {'>' if weakest.fails else 'not >'} {scientific(weakest.floor)}",
    ]


def show(run: Run) -> None:
    """Print the table of claims, then one line for each that is not supported."""
    console = stdout()
    console.print(f"{run.data}: {run.images}; seed {run.seed}", highlight=False, markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True, min_width=2)
    table.add_column("claim", no_wrap=True, overflow="ellipsis", min_width=4, max_width=max(20, console.width - 72))
    for heading, width in (("measured", 8), ("bound", 10), ("control must fail", 17)):  # the claim's text gives way first
        table.add_column(heading, no_wrap=True, justify="right", min_width=width)
    table.add_column("verdict", no_wrap=True, min_width=9)
    table.add_column("s", no_wrap=True, justify="right", min_width=3)
    for result in run.results:
        verdict = Text(result.verdict, STYLES[result.verdict])
        table.add_row(result.claim.id, Text(result.claim.sentence), *_row(result), verdict, f"{result.seconds:.1f}")
    console.print(table)
    supported = sum(result.verdict == "supported" for result in run.results)
    for result in run.results:
        if result.verdict != "supported":
            console.print(f"{result.claim.id} {result.verdict}: {result.reason}", highlight=False, markup=False, soft_wrap=True)
    seconds = sum(result.seconds for result in run.results)
    console.print(f"{supported} of {len(run.results)} claims supported, {seconds:.0f} s", highlight=False)


def show_bounds(weights: str, card: dict[str, Any]) -> None:
    """Print what an HVAE's evaluation found: the bounds, and the KL at each resolution."""
    console, run = stdout(), card["run"]
    protocol = "256 grey values" if run["binarise"] == "no" else f"binarised: {run['binarise']}"
    about = f"{weights}: {card['parameters']:,} parameters" + (f", {card['steps']:,} steps" if "steps" in card else "")
    console.print(
        f"{about}; {card['test_images']:,} test images of {card['data']}, {protocol}", highlight=False, markup=False, soft_wrap=True
    )
    rows = {"ELBO": card["elbo"]}
    if "importance" in card:
        rows[f"L_{card['importance']['draws']}"] = card["importance"]
    for name, found in rows.items():
        error = found["standard_error"]
        nats = f"{found['nats']:.3f}" + (" nats of one image" if error is None else f" +- {error:.3f} nats")
        line = f"{name:>6}  {nats}  {found['bits_per_dimension']:.4f} bits/dim"
        console.print(line, highlight=False)
    sizes = [r["size"] for r in reversed(run["model"]["resolutions"]) for _ in range(r["steps"])]
    for size in dict.fromkeys(sizes):
        each = "  ".join(f"{kl:.2f}" for kl, at in zip(card["kl"], sizes, strict=True) if at == size)
        console.print(f"KL of the steps at {size:>3} x {size:<3}  {each}", highlight=False)


def show_probe(weights: str, found: dict[str, Any]) -> None:
    """Print what the probes of an HVAE came to: a line of each, then a row for each step."""
    console = stdout()

    def line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    def interval(values: list[float | None], form: Callable[[float], str] = scientific) -> str:
        value, low, high = values
        if value is None or low is None or high is None:
            return "not finite"
        return f"{form(value)} ({form(low)} to {form(high)})"

    time, nats, sampling = (found[name] for name in ("time", "nats", "sampling"))
    line(f"{weights}: {found['images']:,} test images, {found['images of many passes']:,} where it takes many passes")
    elbos = (interval(values, "{:.2f}".format) for values in (nats["elbo"], sampling["elbo of samples"][-1]))
    line("ELBO of test images {}, of samples {} nats".format(*elbos))
    told = len(found["sides"]) > 1
    growth = interval(time["growth"], "{:.4f}".format)
    line(f"norm with depth, Spearman's correlation: {growth}" if told else "one step: no time to be told from its states")
    for name in (name for name in time if told and name.startswith("unexplained")):
        _, kind, scope = name.split()
        where = "at all steps" if scope == "all" else "within resolutions"
        line(f"time read from {kind} of channels {where}, 1 - R^2: {interval(time[name])}")
    apart = (interval(sampling["error"][k]) for k in (0, -1))
    line("distance from an image with none of its latents {}, with all {}".format(*apart))
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "side", "KL", "norm", "gain", "gradient", "best basis", "its 1 - R^2", "haar's"):
        table.add_column(heading, justify="right", no_wrap=True)
    bases = found.get("bases", {"basis steps": [], "unexplained": [], "best": []})
    rows = {step: _basis(*row) for step, *row in zip(bases["basis steps"], bases["unexplained"], bases["best"], strict=True)}
    for k, side in enumerate(found["sides"]):
        middle = (np.median(np.array(sampling[name][k], float)) for name in ("gain", "gradient"))  # NaN for None
        values = [np.nan if value is None else float(value) for value in (nats["kl"][k], time["norm"][1][k], *middle)]
        shown = ["-" if np.isnan(value) else scientific(value) for value in values]
        table.add_row(str(k + 1), str(side), *shown, *rows.get(k + 1, ["-"] * 3))
    console.print(table)
    steps = found.get("steps", {})
    for side in (name.removeprefix("r ") for name in steps if name.startswith("r ")):
        curve = zip(steps[f"refined {side} counts"], steps[f"refined {side} change"], strict=True)
        own = steps[f"r {side}"]
        changes = "  ".join(f"{count}: {interval(change, '{:+.2f}'.format)}" for count, change in curve if count != own)
        line(f"change of the ELBO with r' steps at {side} x {side}, trained with {own}:  {changes}")


def _basis(unexplained: list[float | None], best: str | None) -> list[str]:
    """The best basis where one stands out, what it leaves unexplained, and what Haar does; null in a record was not finite."""
    shown = ["-" if value is None else scientific(value) for value in unexplained]
    if set(shown) == {"-"}:
        return ["nothing to explain", "-", "-"]
    least = min(value for value in unexplained if value is not None)
    return [best or "none stands out", scientific(least), shown[0]]


def bench_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of a benchmark's ratios."""
    peers = list(dict.fromkeys(name for row in rows for name in row["peers"]))
    cells = []
    for row in (row for row in rows if row["ratio"] is not None):
        times = [row["ours_s"], row.get("copy_s"), *(row["peers"].get(peer) for peer in peers)]
        shown = ["-" if value is None else f"{value * 1e3:.2f}" for value in times]
        cells.append([f"{row['ratio']:.2f}", row["case"], f"{row['copies']:.1f}" if "copies" in row else "-", *shown])
    headings = ["ratio", "case", "copies", "ours ms", "copy ms", *(f"{peer} ms" for peer in peers)]
    used = [i for i in range(len(headings)) if any(row[i] != "-" for row in cells)]
    return [headings[i] for i in used], [[row[i] for i in used] for row in cells]


def show_bench(rows: list[dict[str, Any]]) -> None:
    """Print a benchmark: ratios first, then what was fitted or counted."""
    show_table(*bench_table(rows))
    for row in rows:
        if "value" in row:
            stdout().print(f"{row['case']}: {row['value']:.2f}", highlight=False)


class download_bar:
    """A progress bar with the interface pooch asks for: `total`, update, reset, close."""

    def __init__(self, file: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=stderr(), transient=True)
        self._task: TaskID = self._progress.add_task(file)
        self._progress.start()

    @property
    def total(self) -> float | None:
        """Bytes to come."""
        return self._progress.tasks[0].total

    @total.setter
    def total(self, size: float) -> None:
        self._progress.update(self._task, total=size)

    def update(self, amount: int) -> None:
        """Bytes that came."""
        self._progress.advance(self._task, amount)

    def reset(self) -> None:
        """Start over."""
        self._progress.reset(self._task)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()
