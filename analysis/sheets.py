"""The sheet of an HVAE: test images beside their reconstructions, samples, and the loss over training."""

import json
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.figures.style import BLUE, ORANGE, STYLE
from multires import files, training
from multires.hvae import HVAE

COLUMNS, SAMPLE_ROWS, SEED = 12, 6, 7
NAME = "sheet.png"


def _grid(images: Tensor, columns: int) -> Tensor:
    """Images of (count, channel, n, n) in rows, a grey line between them, as (y, x, channel)."""
    wide = torch.nn.functional.pad(images, (0, 1, 0, 1), value=0.5)
    rows: Tensor = wide.unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    return rows.expand(-1, -1, 3) if rows.shape[-1] == 1 else rows


@torch.no_grad()
def pictures(hvae: HVAE, images: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """(Images over their reconstructions, samples) as two pictures; the mean of a pixel is shown where it has two values."""
    device = next(hvae.parameters()).device
    generator = torch.Generator().manual_seed(SEED)
    shown = images[:COLUMNS].to(device)
    *_, last = hvae.integrate(len(shown), hvae.encode(shown), generator=generator)
    *_, drawn = hvae.integrate(COLUMNS * SAMPLE_ROWS, temperature=temperature, generator=generator)
    rebuilt, sampled = (hvae.likelihood.mean(hvae.decode(step.state)) for step in (last, drawn))
    shown, rebuilt, sampled = (hvae.crop(x).cpu().clamp(0, 1) for x in (shown, rebuilt, sampled))
    return _grid(torch.cat([shown, rebuilt]), len(shown)), _grid(sampled, COLUMNS)


def figure(hvae: HVAE, images: Tensor, log: Path) -> Figure:
    """Images and reconstructions above, samples below, the loss in nats per image at the side."""
    above, below = pictures(hvae, images)
    drawing = Figure(figsize=(9, 5.2))
    parts = drawing.subplot_mosaic([["above", "curve"], ["below", "curve"]], width_ratios=[1.35, 1], height_ratios=[2, SAMPLE_ROWS])
    for name, picture, title in (("above", above, "test images, and reconstructions"), ("below", below, "samples")):
        parts[name].imshow(picture.numpy(), interpolation="nearest", vmin=0, vmax=1)
        parts[name].set_title(title)
        parts[name].set_axis_off()
    axes = parts["curve"]
    trained, tested = losses(log, hvae.dimensions)
    axes.plot(*zip(*trained, strict=True), color=BLUE, linewidth=0.7, alpha=0.7, label="training, each batch") if trained else None
    axes.plot(*zip(*tested, strict=True), color=ORANGE, marker="o", label="test, averaged weights") if tested else None
    levels = sorted(value for _, value in trained) or [value for _, value in tested]
    if levels:
        low = min([levels[0], *(value for _, value in tested)])
        axes.set_ylim(low - 0.02 * abs(low), levels[int(0.9 * (len(levels) - 1))] + 0.1 * abs(low))
    axes.set_title("minus ELBO, nats per image")
    axes.set_xlabel("step")
    axes.legend() if levels else None
    return drawing


def losses(log: Path, dimensions: int) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """(step, nats per image) of training and of tests, from a run's log."""
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    trained = [(r["step"], r["loss"] * dimensions) for r in records if r["record"] == "step"]
    return trained, [(r["step"], r["test_loss"]) for r in records if r["record"] == "evaluated"]


def write(hvae: HVAE, images: Tensor, directory: Path) -> None:
    """Put the sheet of a run into its folder."""
    import io

    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure(hvae, images, directory / training.LOG).savefig(stream, format="png", dpi=130)
    files.write(directory / NAME, stream.getvalue())
