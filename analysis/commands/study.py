"""`multires study`: a grid of training runs and its table."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Study:
    """Train a grid of runs, each resumable, and print its table: `unet-basis`, which wavelet basis a U-Net's activations carry."""

    name: Positional[Literal["unet-basis"]]
    """Which study."""
    shard: str = "1/1"
    """Train only every n-th run, from the i-th on: i/n, for job arrays. The table shows the runs that are finished."""
    out: Path | None = None
    """Folder for the runs; runs/NAME where none is named."""
    ship: Path | None = None
    """Also write the first seed's weights to this folder, in half precision, each with its card."""
    json: Path | None = None
    """Also write the table to this file."""

    def run(self) -> int:
        """Train what is left, measure what is finished, print."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in verify: idle threads must not spin
        from analysis import study, terminal
        from multires import files

        chosen, folder = study.STUDIES[self.name], self.out or Path("runs") / self.name
        if self.json:
            files.require_writable(self.json)
        names = study.shard(list(chosen.grid()), self.shard)
        for _ in terminal.study_progress(study.train(chosen, names, folder), chosen.grid(), names):
            pass
        rows = list(terminal.progress(chosen.rows(study.finished(chosen, folder)), None, "measuring"))
        terminal.show_study(rows)
        if self.json:
            files.write_json(self.json, {"study": self.name, "rows": rows})
        if self.ship:
            study.ship(chosen, folder, self.ship)
        return 0
