"""`multires study`: a grid of training runs and its table."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from multires.errors import MultiresError


@dataclass(frozen=True)
class Study:
    """Train a grid of runs, each resumable, and print its table.

    `unet-basis`: which wavelet basis a U-Net's activations carry. `weight-sharing`: HVAEs with cells of their own, and with one
    cell at each resolution. `state-norm`: HVAEs with and without a state that can grow. `sharing-depth`: one as deep and as small
    that shares nothing. `sharing-remedies`: what else sharing could take to cost nothing on the digits.
    """

    name: Positional[Literal["unet-basis", "weight-sharing", "state-norm", "sharing-depth", "sharing-remedies"]]
    """Which study."""
    size: str | None = None
    """small (MNIST at 16 x 16), digits or full (for a GPU) for HVAEs; small or synthesis (another way up) for unet-basis; the
    first is meant where none is named."""
    shard: str = "1/1"
    """Train only every n-th run, from the i-th on: i/n, for job arrays. The table shows the runs that are finished."""
    out: Path | None = None
    """Folder for the runs; where none is named runs/unet-basis, or runs/hvae-SIZE, which the studies of HVAEs share."""
    ship: Path | None = None
    """Also write the weights that the claims measure to this folder, in half precision, each with its card."""
    figure: Path | None = None
    """Also draw the table to this file."""
    json: Path | None = None
    """Also write the table to this file."""

    def run(self) -> int:
        """Train what is left, measure what is finished, print."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in verify: idle threads must not spin
        from analysis import record, study, terminal
        from analysis.figures import style
        from analysis.provenance import commit
        from multires import files, training

        chosen = study.STUDIES[self.name]
        size = self.size or next(iter(chosen.sizes))
        folder = self.out or Path("runs") / (self.name if self.name == "unet-basis" else f"hvae-{size}")
        grid = study.grid(chosen, size)
        names = study.shard(list(grid), self.shard)
        if self.figure and chosen.figure is None:
            raise MultiresError(f"--figure: {self.name} draws none; multires verify {chosen.claim} does")
        if self.figure:
            style.require_writable(self.figure)
        for target in (self.json, self.ship / "weights.safetensors" if self.ship else None):
            if target:
                files.require_writable(target)
        for _ in terminal.study_progress(study.train(grid, names, folder), grid, names):
            pass
        training.leave()
        if not training.processes().is_main_process:
            return 0
        rows = list(terminal.progress(chosen.rows(study.finished(grid, folder)), None, "measuring"))
        terminal.show_table(*chosen.table(rows))
        if self.json:
            made = {"commit": commit(), "versions": record.environment()}
            files.write_json(self.json, {"study": self.name, "size": size, "rows": rows, **made})
        if self.ship:
            study.ship(chosen, size, folder, self.ship)
        if self.figure and chosen.figure:
            style.save(chosen.figure, rows, self.figure)
        return 0
