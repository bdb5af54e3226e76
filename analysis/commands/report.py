"""`multires report`: the page of a run that was measured before."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """Write the page of a run of `verify` again: claims, models, studies, benchmarks, in one HTML file that needs no network."""

    folder: Positional[Path] = Path("runs/verify")
    """Where `verify` wrote its evidence."""
    against: Path | None = None
    """Folder of another run, to be shown beside it with what changed."""
    models: tuple[str, ...] = ()
    """Trained networks to show: shipped weights, .safetensors files or runs' folders; those that ship where none is named."""
    records: tuple[Path, ...] = ()
    """Tables to show: files that `study --json` and `bench --json` wrote; those that ship where none is named."""
    out: Path | None = None
    """The page; report.html in the run's folder where it is not named."""

    def run(self) -> int:
        """Read, draw, write; nothing is measured."""
        from analysis import record
        from analysis.report import models, tables
        from analysis.report.page import page
        from multires import files

        target = self.out or self.folder / PAGE
        run, other = record.read(self.folder), record.read(self.against) if self.against else None
        files.require_writable(target)
        cards, records = models.cards(self.models or models.shipped()), tables.tables(self.records or tables.recorded())
        files.write(target, page(run, target.parent, other, cards, records).encode())
        print(f"report: {target.resolve()}")
        return 0
