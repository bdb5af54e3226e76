"""`multires evaluate`: the bounds of a trained HVAE on its test images."""

import os
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from multires.errors import MultiresError


@dataclass(frozen=True)
class Evaluate:
    """Bound the likelihood of test images under a trained HVAE: the ELBO and, with --draws K, the importance-weighted bound."""

    weights: Positional[str]
    """Shipped weights by name, a run's folder, or a .safetensors file with its card."""
    draws: int = 0
    """K, the draws from the posterior for each image of the importance-weighted bound; none where 0."""
    images: int | None = None
    """Only the first so many test images; all where none is named."""
    sheet: Path | None = None
    """Also draw images, reconstructions, samples and the loss over training to this PNG."""
    ship: Path | None = None
    """Also write the weights in half precision to this folder, with what was measured in their card."""
    json: Path | None = None
    """Also write what was measured to this file."""

    def run(self) -> int:
        """Measure, print, write."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch

        from analysis import hvae_runs, probing, runs, sheets, terminal
        from multires import bounds, checkpoints, files, plain, pretrained
        from multires.hvae_configs import HVAERun

        if self.draws < 0 or (self.images is not None and self.images < 1):
            raise MultiresError(f"--draws {self.draws} --images {self.images}: draws are 0 or more, images 1 or more")
        card = pretrained.card(self.weights, "hvae")
        card.pop("importance", None)  # nothing but what is measured now
        net, run = pretrained.load_hvae(self.weights)
        test, tiled = probing.test_images(net, run)
        test = test[: self.images]
        shipped = self.ship and self.ship / f"hvae-{hvae_runs.name(run)}.safetensors"
        beside = [] if shipped is None else [shipped, shipped.with_suffix(".json")]
        for place in beside:
            files.require_writable(place)
        runs.require_apart([target for target in (self.sheet, self.json) if target], self.weights, beside)
        if shipped and shipped.exists() and plain.from_json(HVAERun, pretrained.card(shipped, "hvae")["run"], str(shipped)) != run:
            raise MultiresError(f"{shipped}: weights of another run have that name; move them, or name another folder")
        card |= {"run": plain.to_json(run), "data": run.data, "parameters": sum(p.numel() for p in net.parameters())}
        if tiled:
            print(tiled, flush=True)
        if shipped:
            net.half().float()  # what is measured has to be what is shipped
            for name, parameter in net.named_parameters():
                if not bool(parameter.isfinite().all()):
                    raise MultiresError(f"{self.weights}: {name} has values beyond 65504, the most that half precision holds")
        net.to("cuda" if torch.cuda.is_available() else "cpu")
        parts = bounds.bounds(net, test, self.draws, hvae_runs.TEST_SEED)
        batches = list(terminal.progress(parts, -(-len(test) // bounds.BATCH), "evaluating"))
        wrong = sum(int((~batch.elbo.isfinite()).sum()) for batch in batches)
        if wrong:
            raise MultiresError(f"{self.weights}: the ELBO of {wrong:,} of {len(test):,} test images is not finite")
        card |= hvae_runs.summary(batches, self.draws, net.dimensions)
        terminal.show_bounds(self.weights, card)
        if self.json:
            files.write_json(self.json, card)
        if self.sheet:
            sheets.write(net, test, card.get("history", {}), self.sheet)
        if shipped:
            checkpoints.write_weights(shipped, net, card | {"dtype": "float16", "command": hvae_runs.command(run)}, torch.float16)
            print(f"weights: {shipped.resolve()}")
        return 0
