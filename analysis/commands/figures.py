"""`multires figures`: the figures of a run that was measured before, as files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Figures:
    """Draw every claim's figure from the evidence of a run of `verify`, without measuring anything."""

    folder: Positional[Path] = Path("runs/verify")
    """Where `verify` wrote its evidence."""
    format: Literal["svg", "pdf", "png"] = "svg"
    """The files' format; fonts are embedded."""
    width: Literal["double", "column"] = "double"
    """Double-column (7 in) or column (3.4 in) of a paper."""
    out: Path | None = None
    """Folder for the figures; `figures` in the run's folder where it is not named."""

    def run(self) -> int:
        """Read, draw, write."""
        from analysis import figures, record, terminal
        from multires import files

        run, out = record.read(self.folder), self.out or self.folder / "figures"
        drawn = [result for result in run.results if result.evidence and result.evidence.checks]
        files.require_writable(out / f"A1.{self.format}")
        for result in terminal.progress(drawn, len(drawn), "drawing"):
            assert result.evidence
            files.write(
                out / f"{result.claim.id}.{self.format}", figures.render(result.claim.id, result.evidence, self.format, self.width)
            )
        print(f"{len(drawn)} figures: {out.resolve()}")
        return 0
