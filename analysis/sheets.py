"""The sheet of an HVAE: test images beside their reconstructions, samples, and the loss over training."""

import io
import json
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.figures.style import BLUE, ORANGE, STYLE
from multires import files
from multires.hvae import HVAE

COLUMNS, SAMPLE_ROWS, SEED, POINTS = 12, 6, 7, 100
MOST = 1e30  # nats that can be drawn; NaN is not below it
NAME = "sheet.png"
History = dict[str, list[list[float]]]
"""(step, nats) by name: training, test; a name is missing where nothing is known of it."""


def _grid(images: Tensor, columns: int) -> Tensor:
    """Images of (count, channel, n, n) in rows, a grey line between them, as (y, x, 3); other than three channels as their mean."""
    wide = torch.nn.functional.pad(images, (0, 1, 0, 1), value=0.5)
    rows: Tensor = wide.unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    return rows if rows.shape[-1] == 3 else rows.mean(-1, keepdim=True).expand(-1, -1, 3)


@torch.no_grad()
def rebuilt(hvae: HVAE, images: Tensor) -> Tensor:
    """Images over their reconstructions as a picture; the mean of a pixel is shown where it has two values."""
    shown = images[:COLUMNS].to(next(hvae.parameters()).device)
    *_, last = hvae.integrate(len(shown), hvae.encode(shown), generator=torch.Generator().manual_seed(SEED))
    both = torch.cat([shown, hvae.likelihood.mean(hvae.decode(last.state))])
    return _grid(hvae.crop(both).cpu().clamp(0, 1), len(shown))


@torch.no_grad()
def sampled(hvae: HVAE, rows: int = SAMPLE_ROWS) -> Tensor:
    """Samples as a picture, the means of their pixels."""
    generator = torch.Generator().manual_seed(SEED)
    *_, drawn = hvae.integrate(COLUMNS * rows, generator=generator)
    return _grid(hvae.crop(hvae.likelihood.mean(hvae.decode(drawn.state))).cpu().clamp(0, 1), COLUMNS)


def history(log: Path) -> History:
    """The course of a run from its log: minus the ELBO in nats per image, of tests, and of training in means over many steps."""
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    trained = [(r["step"], r["details"]["nll"] + sum(r["details"]["kl"])) for r in records if r["record"] == "step"]
    size = -(-len(trained) // POINTS)
    means = [
        [sum(column) / len(column) for column in zip(*trained[i : i + size], strict=True)] for i in range(0, len(trained), size)
    ]
    return {"training": means, "test": [[r["step"], r["test_loss"]] for r in records if r["record"] == "evaluated"]}


def figure(hvae: HVAE, images: Tensor, course: History) -> Figure:
    """Images and reconstructions above, samples below, the course of the training at the side."""
    drawing = Figure(figsize=(9, 4.3))
    parts = drawing.subplot_mosaic([["above", "curve"], ["below", "curve"]], width_ratios=[1.25, 1], height_ratios=[2, SAMPLE_ROWS])
    for name, picture, title in (
        ("above", rebuilt(hvae, images), "test images, and reconstructions"),
        ("below", sampled(hvae), "samples"),
    ):
        parts[name].imshow(picture.numpy(), interpolation="nearest", vmin=0, vmax=1)
        parts[name].set_title(title)
        parts[name].set_axis_off()
    axes = parts["curve"]
    course = {
        name: [[step, value] for step, value in points if value is not None and abs(value) < MOST]
        for name, points in course.items()
    }
    for name, colour, label in (("training", BLUE, "training"), ("test", ORANGE, "test, averaged weights")):
        if course.get(name):
            axes.plot(*zip(*course[name], strict=True), color=colour, marker="o" if name == "test" else "", label=label)
    values = sorted(value for points in course.values() for _, value in points)
    if values:  # the start is far above all that follows
        span = values[int(0.8 * (len(values) - 1))] - values[0]
        axes.set_ylim(values[0] - 0.1 * span, values[0] + 2 * span + 1e-9)
        axes.legend()
        axes.set_title("minus ELBO, nats per image")
        axes.set_xlabel("step")
    else:
        axes.set_axis_off()
    return drawing


def samples(hvae: HVAE) -> Figure:
    """A few samples and nothing else."""
    picture = sampled(hvae, rows=2)
    drawing = Figure(figsize=(6, 6 * picture.shape[0] / picture.shape[1]))
    axes = drawing.subplots()
    axes.imshow(picture.numpy(), interpolation="nearest", vmin=0, vmax=1)
    axes.set_axis_off()
    return drawing


def write(hvae: HVAE, images: Tensor, course: History, path: Path) -> None:
    """Draw the sheet to a PNG file."""
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure(hvae, images, course).savefig(stream, format="png", dpi=130)
    files.write(path, stream.getvalue())
