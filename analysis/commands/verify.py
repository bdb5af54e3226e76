"""`multires verify`: measure claims, print their table, write the evidence and the report."""

import os
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from analysis.commands.report import PAGE
from multires.errors import MultiresError

LARGEST_SEED = 2**32 - 1  # generators hold 64 bits: there is room for what is added to seeds, and for a thousandfold


def require_seed(seed: int) -> None:
    """Raise MultiresError for what is no seed."""
    if not 0 <= seed <= LARGEST_SEED:
        raise MultiresError(f"--seed {seed}: seeds are 0 to {LARGEST_SEED} (2^32 - 1)")


@dataclass(frozen=True)
class Verify:
    """Verify the claims of docs/theory.md and write a report: exit 0 if all are supported, 1 if not, 2 if the call was wrong."""

    claims: Positional[tuple[str, ...]] = ()
    """Ids (B2) or letters of groups (B); all claims when none is named."""
    data: str = "natural"
    """natural, digits, mnist, fashion-mnist, cifar-10, or a path: an image, a folder of images, or an .npy array."""
    seed: int = 0
    """Fixes every random number: 0 to 2^32 - 1."""
    full: bool = False
    """Measure claims about trained HVAEs on all test images, not on the first 1,000 (E4: 5,000 and 100; E6: 250)."""
    out: Path = Path("runs/verify")
    """Folder for the report, the evidence and the figures' arrays."""
    json: Path | None = None
    """Also write the evidence to this file."""

    def run(self) -> int:
        """Measure, print, write."""
        # torch's idle threads would spin at every small operation, which is ruinous where another process wants the core
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from analysis import claims, evidence, record, terminal
        from analysis.report import models, tables
        from analysis.report.page import page
        from multires import data, files

        assert claims  # importing it registers the claims
        chosen = evidence.select(self.claims)
        require_seed(self.seed)
        images = data.load(self.data)
        report = self.out / PAGE
        for target in (self.out / record.ARRAYS, self.out / record.EVIDENCE, report, *([self.json] if self.json else [])):
            files.require_writable(target)
        coming = evidence.run(chosen, images, self.seed, self.full)
        results = list(
            terminal.progress(coming, len(chosen), "verifying", lambda r: f"{r.claim.id} {r.verdict}, {r.seconds:.0f} s")
        )
        run = record.measured(results, images, self.seed, self.full)
        terminal.show(run)
        record.write(run, self.out)  # before anything is drawn: what was measured is not to be lost
        if self.json:
            files.write(self.json, record.dumps(record.to_json(run)))
        files.write(
            report, page(run, self.out, models=models.cards(models.shipped()), tables=tables.tables(tables.recorded())).encode()
        )
        print(f"report: {report.resolve()}")
        return 0 if run.supported else 1
