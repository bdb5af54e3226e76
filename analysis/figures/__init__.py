"""Figures: each a function from Evidence to a matplotlib Figure, one style for all.

`FIGURES` maps claim ids to their own figure; every other claim gets `margins`, which shows each defect beside its bound.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from analysis.evidence import Evidence
from analysis.figures import diffusions, foundation, hvaes, studies, style, unets
from analysis.figures.margins import margins
from analysis.figures.style import Format, Width
from multires.errors import MultiresError, summary

Draw = Callable[[Evidence], Figure]
FIGURES: dict[str, Draw] = {
    "A4": foundation.smooth_convergence,
    "A5": foundation.jump_convergence,
    "A6": foundation.brownian,
    "B2": foundation.pyramid,
    "B6": foundation.other_poolings,
    "C1": unets.haar_unet,
    "C2": unets.pooled_activations,
    "C3": unets.split_loss,
    "C4": unets.optimum,
    "C5": unets.bases,
    "C6": unets.skips,
    "C7": unets.truncation,
    "D1": diffusions.filmstrip,
    "D2": diffusions.orders,
    "D4": diffusions.stability,
    "D6": diffusions.gains,
    "E1": hvaes.time,
    "E2": studies.costs,
    "E3": studies.costs,
    "E4": hvaes.sampling,
    "E5": hvaes.bases,
    "E6": hvaes.steps,
}
"""The claims with a figure of their own."""

CAPTIONS = {
    "A4": "Marks are measured errors, lines the limit law. Dashed, in two dimensions: the first image of the data.",
    "A5": "Left: the jump on its law at every resolution. Right: its distance from the law is rounding; the control's is not.",
    "A6": "Above: both laws. Below: measured over law, inside the interval that holds for all resolutions at once.",
    "B2": "Each column is one level down. The first two rows come from code that shares nothing; the last is their difference.",
    "C1": "Each column is one level down. Activations of the Haar U-Net above, PyWavelets' coefficients below: the same pictures.",
    "C2": "Above: what a trained network pools in its liveliest channel, and PyWavelets' approximation of what it was given."
    " Below: their distance at each pooling, against the same with max pooling.",
    "C3": "The loss of the trained network, split over the levels of detail; the bars of one kind sum to its loss.",
    "C4": "The distance of the trained map from the optimum at each resolution falls below 1 %; from the wrong one it does not.",
    "C5": "Rows: networks, by their pooling. Columns: bases. Dark: the basis is all there; a dot: the best;"
    " outlined: the network's own."
    " Before training blocks are the identity, so the encoder has its own basis; at random it keeps it roughly; trained, well."
    " In the decoder only training brings it, at the coarse levels.",
    "C6": "Rows: which skip lost its details. Columns: the share of the output's change in each sub-band: the details of level"
    " 1, 2, ..., and the approximation. Outlined: the skip's own band, to which most of the change belongs where the claim holds;"
    " untrained and max-pooling networks have to fail.",
    "C7": "Marks are measured errors of the output, lines the bound; the control, whose norms grow, does not converge.",
    "D1": "A path from a point mass, a single value, to a state of the size of an image: at each change of resolution it is"
    " embedded, and its noise has new details from there on.",
    "D2": "Marks are measured errors, lines their fitted orders, in brackets the interval. The controls do not converge.",
    "D4": "Inside the black line a step shrinks the state. On the diagonal, a = b, two steps reach twice as far as one.",
    "D6": "Left: from a point mass the constant is 1/t, from a spread start it is bounded. Middle and right: what cells of an HVAE"
    " do, whatever that is; lines are medians, bands all samples, dotted lines changes of resolution.",
    "E1": "Left: the norm from step to step, the median and 90 % of images. Right: what is missing of a perfect"
    " correlation with depth, and of the time read from the states of held-out images, drawn at 0.0001 or more; the trained network"
    " has to lie left of the line, everything else right of it: where a control lies left of it, that is no sense of time.",
    "E2": "normalised-3 above zero: the network whose state is normalised is the worse one. shared-3: another change of the cells,"
    " which leaves the state its size; normalised-3 over it, the control, has to lie above zero too.",
    "E3": "At or below zero: no worse than three cells of its own at each resolution. shared-r: one cell repeated r times there;"
    " narrow-5: as deep as shared-5 and about as small, without sharing; over shared-5, the control, it has to lie above zero."
    " Intervals over five seeds are of 97.5 %, others of 95 %.",
    "E4": "Above: from left to right an image tells more of its latents; what is not told is drawn, on the same noise. Below left:"
    " colder samples vary less. Right: how near samples come to the image, their ELBO beside that of"
    " images and of pixels drawn from images' own latents (at 1.00), and how much steps amplify.",
    "E5": "Rows: steps. Columns: bases. Outlined: the basis whose approximations of the decoded image the state carries best.",
    "E6": "Circles: the same time in more or fewer steps; with one more and one fewer they have to stay in the grey band."
    " Diamonds: as many of full length, which have to leave it. Bands: 95 % intervals, paired by image; the verdict takes 99.9 %.",
    "B6": "Dark cells are rounding, bright ones statements that fail; only average pooling, which is Haar's low-pass filter, is"
    " dark in every column. '-': nothing to compare.",
}
DEFAULT_CAPTION = (
    "Every defect the claim measured, for all dimensions and precisions, left of its bound; controls right of their floor."
)


def draw(id: str, evidence: Evidence, width: Width = "double") -> Figure:
    """The figure of a claim, in the project's style."""
    return style.draw(FIGURES.get(id, margins), evidence, width)


def render(id: str, evidence: Evidence, format: Format = "svg", width: Width = "double") -> bytes:
    """The claim's figure as a file, the same bytes for the same evidence; MultiresError where this cannot be drawn."""
    try:
        return style.render(FIGURES.get(id, margins), evidence, format, width)
    except Exception as error:
        raise MultiresError(
            f"{id}: no figure can be drawn from this evidence ({summary(error)}); measure again: multires verify {id}"
        ) from error
