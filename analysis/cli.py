"""The `multires` command. It imports torch and the rest only once it knows what to do, so that --help is quick."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from multires.errors import MultiresError

if TYPE_CHECKING:
    from analysis.record import Run

FILES = ("arrays.npz", "evidence.json", "report.html")


@dataclass(frozen=True)
class Verify:
    """Verify the claims of docs/theory.md and write a report: exit 0 if all are supported, 1 if not, 2 if the call was wrong."""

    claims: Positional[tuple[str, ...]] = ()
    """Ids (B2) or letters of groups (B); all claims when none is named."""
    data: str = "natural"
    """natural, digits, mnist, fashion-mnist, cifar-10, or a path: an image, a folder of images, or an .npy array."""
    seed: int = 0
    """Fixes every random number."""
    out: Path = Path("runs/verify")
    """Folder for the report, the evidence and the figures' arrays."""
    json: Path | None = None
    """Also write the evidence to this file."""

    def run(self) -> int:
        """Measure, print, write."""
        # torch's idle threads would spin at every small operation, which is ruinous where another process wants the core
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from analysis import claims, evidence, record, report, terminal
        from multires import data, files

        assert claims  # importing it registers the claims
        chosen = evidence.select(self.claims)
        if self.seed < 0:
            raise MultiresError(f"--seed {self.seed}: seeds are 0 or more")
        images = data.load(self.data)
        for target in (*(self.out / name for name in FILES), *([self.json] if self.json else [])):
            files.require_writable(target)
        results = list(terminal.progress(evidence.run(chosen, images, self.seed), len(chosen), "verifying"))
        run = record.Run(results, images, self.seed)
        terminal.show(run)
        self._write(run, report.page(run))
        return 0 if run.supported else 1

    def _write(self, run: "Run", page: str) -> None:
        from analysis import record
        from multires import files

        content = record.dumps(run.to_json())
        for name, part in zip(FILES, (record.arrays(run.results), content, page.encode()), strict=True):
            files.write(self.out / name, part)
        if self.json:
            files.write(self.json, content)
        print(f"report: {(self.out / FILES[-1]).resolve()}")


@dataclass(frozen=True)
class Data:
    """List the data sets, or fetch one with checksums."""

    action: Positional[Literal["list", "fetch"]]
    """list what there is, or fetch NAME."""
    name: Positional[str] = ""
    """mnist, fashion-mnist or cifar-10."""
    mirror: str | None = None
    """Fetch from this address instead of where the set is published."""

    def run(self) -> int:
        """Print the list, or the folder that now holds the files."""
        from analysis import terminal
        from multires import download
        from multires.data import SETS

        if self.action == "list":
            for name in SETS:
                source = download.SOURCES.get(name)
                if source is None:
                    print(f"{name:14} comes with the dependencies")
                else:
                    here = all(download.present(name, file) for file in source.files)
                    print(f"{name:14} {'in ' + str(download.folder(name)) if here else 'not here: multires data fetch ' + name}")
            return 0
        if not self.name:
            raise MultiresError(f"data fetch: name a set: {', '.join(download.SOURCES)}")
        print(download.fetch(self.name, self.mirror, terminal.download_bar if sys.stderr.isatty() else None))
        return 0


@dataclass(frozen=True)
class Bench:
    """Time our code beside its peers, in one run; ratios are fastest peer / ours."""

    name: Positional[Literal["haar"]] = "haar"
    """What to time: haar, the transform beside PyWavelets and ptwt."""
    json: Path | None = None
    """Also write the rows to this file."""

    def run(self) -> int:
        """Measure, print, write."""
        from analysis import bench, record, terminal
        from multires import files

        if self.json:
            files.require_writable(self.json)
        rows = list(terminal.progress(bench.haar_rows(), None, "timing"))
        terminal.show_bench(rows)
        if self.json:
            files.write(self.json, record.dumps({"rows": rows}))
        return 0


Command = Annotated[Verify, subcommand("verify")] | Annotated[Data, subcommand("data")] | Annotated[Bench, subcommand("bench")]


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 a claim is not supported, 2 the call was wrong, 130 stopped."""
    command = tyro.cli(
        Command,
        prog="multires",
        description="Checks, with evidence anyone can rerun, what the theory of multi-resolution U-Nets claims.",
        args=arguments,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )
    try:
        code = command.run()
        sys.stdout.flush()
    except MultiresError as error:
        print(f"multires: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("multires: stopped; nothing was written", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader went away: say nothing, as other commands do
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)
