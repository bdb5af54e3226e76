"""What the docs take from `multires verify --out docs/record`: what each claim about trained HVAEs came to."""

import json
from pathlib import Path

RECORD = Path(__file__).parent / "record" / "evidence.json"
MEANING = {
    "C6": "So the trained network's skips do keep to their bands. But so do some skips of networks with max pooling, and of networks"
    " before any training: that a skip brings its own sub-band is no sign of average pooling or of training."
    " [Conventions](conventions.md) say how it is measured.",
    "E1": "So the norm of the state does grow with depth, and time can be read from the state. But neither is a sign of training: an"
    " untrained network's states are random walks, whose norm grows as surely. Their channels' means tell no time, as its biases are"
    " zero; with biases and starts as large as those learned, in any order, each cell's states have a mean of their own, and the same"
    " read-outs find the time in an untrained network too. Nor is what the means tell an order: they also tell, less well but within"
    " the bound, a time in the trained network that is one step late within each resolution, the first step last, so they tell steps"
    " apart.",
    "E2": "So three seeds cannot tell whether normalising the state costs likelihood after this short a training: the interval reaches to"
    " either side. Nor does it surely cost more than another change of the cells at equal depth, the control. Normalising does not take"
    " time from the network altogether: the learned start of each resolution is added to the state after it was normalised."
    " [All runs](hvae-studies.md), over all test images.",
    "E3": "So one cell a resolution, repeated five times, does better than three cells of its own with twice as many parameters, and takes"
    " 16 steps in time instead of 10 for it, each of which costs time; at equal depth neither is surely the better. Depth alone does not"
    " do it: cells of their own that are narrower, as deep and with a tenth more parameters than the shared ones, surely cost more than"
    " those, though not surely more than own cells of full width. The interval is over five seeds of which two were trained after three"
    " had not been enough; its level allows for both looks. Over 1,000 images it ends nearer to zero than another draw of the latents"
    " would move it; over all of them (`multires verify E3 --full`) it is clear of zero by more than that. This is MNIST at 16 x 16 after"
    " a short training, and not the state of the art; on the digits it is not supported. [All runs](hvae-studies.md), over all test"
    " images; there is also how the pair came to have five seeds.",
    "E4": "So samples surely have an ELBO that is lower by 5 % or more. Images whose pixels are drawn as samples' are, but from test images'"
    " own latents, lie much nearer to test images, so it is mostly the latents that make the difference. This is the second look: the interval over 1,000 of"
    " each was nearly as wide as the difference, ended at 0.958, and with some other seeds below the bound; the level allows for both"
    " looks. How large the difference is depends on the training: it was larger for the same network trained with `--free-nats 0`,"
    " whose latents at 4 x 4 carry nothing. The ELBO is a bound whose encoder has only seen images; by the few"
    " that were looked at, more draws raise it by more for samples, perhaps by a quarter of the difference, and how far below the"
    " likelihood it still is was not measured. An image comes back as far as its own latents are given: no further latent takes what is"
    " decoded away from it. Whether the scheme is stiff near the point mass, as D6 says of known processes, is another question; gains"
    " are shown for four samples and gradients for four images, and not judged.",
    "E5": "So the states carry the Haar approximations better than those of any other basis at 4 x 4, 8 x 8 and 16 x 16, though the"
    " coarser, the less of them; states of another image carry none. But an untrained network's states do so as well, at 4 x 4 and 8 x 8"
    " even more. That is likely the architecture's doing, as embedding by nearest neighbours is Haar's synthesis; no network that embeds"
    " otherwise was trained.",
    "E6": "So the likelihood stays within the bound around r' = r, surely so, as the networks that are compared share their noise. But so it"
    " does with steps of full length, which take more or less time than there is: this network minds either too little for a bound of"
    " 5 % to tell them apart. In the mean steps of full length change it more than those of the right length, but at 4 x 4 with one step"
    " fewer, where they do not.",
}


def paragraph(id: str) -> str:
    """What was found, its numbers from the record; nothing for claims that it does not hold."""
    records = json.loads(RECORD.read_text())["claims"]
    for record in records:
        if record["id"] == id and id in MEANING:
            lines = ["| | measured | |", "|---|---|---|"]
            lines += [f"| {c['what']} | {c['measured']:.4g} | at most {c['bound']:g} |" for c in record["checks"]]
            lines += [f"| *control:* {c['what']} | {c['measured']:.4g} | must exceed {c['floor']:g} |" for c in record["controls"]]
            verdict = f"**{record['verdict'].capitalize()}**" + (f": {record['reason']}" if record["reason"] else "")
            return f"\n{verdict}. {MEANING[id]}\n\n{record['note']}.\n\n" + "\n".join(lines) + "\n"
    return ""
