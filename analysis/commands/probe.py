"""`multires probe`: look into a trained HVAE."""

import os
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from analysis.commands.verify import require_seed
from multires.errors import MultiresError

FILE = "probe.json"


@dataclass(frozen=True)
class Probe:
    """Probe a trained HVAE on test images: time in its states, KL, bases, samples in part, gains of steps, refined steps."""

    weights: Positional[str]
    """Shipped weights by name, a run's folder, a .safetensors file with its card, or one of openai/vdvae's state dicts."""
    data: str | None = None
    """The set or path whose test images are looked at; that of the run where none is named."""
    images: int | None = None
    """Only the first so many test images; all where none is named."""
    seed: int = 0
    """Fixes every random number: 0 to 2^32 - 1."""
    out: Path | None = None
    """Folder for the numbers and the figures; runs/probe-NAME where none is named."""
    json: Path | None = None
    """Also write the numbers to this file."""

    def run(self) -> int:
        """Compute, print, write."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in verify: idle threads must not spin
        import torch

        from analysis import probing, runs, terminal
        from analysis.figures import hvaes, style
        from multires import files

        require_seed(self.seed)
        if self.images is not None and self.images < probing.LEAST:
            raise MultiresError(f"--images {self.images}: images are {probing.LEAST} or more, half to fit on")
        net, run = probing.open_run(self.weights, self.data)
        images, tiled = probing.test_images(net, run)
        net.to("cuda" if torch.cuda.is_available() else "cpu")
        probe = probing.Probe(net, images[: self.images], self.seed)
        out = self.out or Path("runs") / f"probe-{Path(self.weights).stem}"
        targets = (out / FILE, *([self.json] if self.json else []))
        runs.require_apart(targets, self.weights)
        if tiled:
            print(tiled, flush=True)
        for _ in terminal.progress(probe.run(), probe.parts, "probing"):
            pass
        record = probe.to_json() | ({"tiles": tiled} if tiled else {})
        terminal.show_probe(self.weights, record)
        for target in targets:  # before anything is drawn: what was computed is not to be lost
            files.write_json(target, record)
        try:
            for name in probe.found:
                style.save(getattr(hvaes, name), probe.evidence(name), out / f"{name}.svg", out / f"{name}.png")
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped while drawing; {out / FILE} is whole") from None
        print(f"numbers and figures: {out.resolve()}")
        return 0
