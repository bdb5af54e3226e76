"""`multires figures`: the figures of a run that was measured before, as files."""

import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
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
        drawn = {each.claim.id: each.evidence for each in run.results if each.evidence and each.evidence.checks}
        for id in drawn:
            files.require_writable(out / f"{id}.{self.format}")
        with ProcessPoolExecutor(initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
            files_of = pool.map(figures.render, drawn, drawn.values(), repeat(self.format), repeat(self.width))
            contents = list(terminal.progress(files_of, len(drawn), "drawing"))
        for id, content in zip(drawn, contents, strict=True):
            files.write(out / f"{id}.{self.format}", content)
        print(f"{len(drawn)} figures: {out.resolve()}")
        return 0
