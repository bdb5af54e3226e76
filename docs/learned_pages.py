"""What the docs take from `multires verify --out docs/record`: what each claim about trained HVAEs came to."""

import json
from pathlib import Path

RECORD = Path(__file__).parent / "record" / "evidence.json"
MEANING = {
    "E1": "So the norm of the state does grow with depth, and time can be read from the state. But growth is no sign of training: an"
    " untrained network's states are random walks, whose norm grows as surely, and at all steps the norms of its channels tell the time"
    " too. After training the channels' means tell it as well, at all steps and within resolutions. An untrained network has biases of"
    " zero, and any others would give each cell's states a mean of their own: what the means show was not separated from that.",
    "E2": "So three seeds cannot tell whether normalising the state costs likelihood after this short a training: the interval reaches to"
    " either side. The control only compares seeds of the network that is not normalised: its interval is symmetric about zero, so that"
    " it fails whatever normalising does. Normalising does not take time from the network altogether: the learned start of each"
    " resolution is added to the state after it was normalised. [All runs](hvae-studies.md), over all test images.",
    "E3": "So one cell a resolution, repeated five times, does better than three cells of its own with twice as many parameters, and takes"
    " 16 steps in time instead of 10 for it, each of which costs time; at equal depth neither is surely the better. The interval is over"
    " five seeds of which two were trained after three had not been enough, and takes no account of that second look. The control shares"
    " no cell, but also takes fewer steps. This is MNIST at 16 x 16 after a short training, and not the state of the art; on the digits"
    " it is not supported. [All runs](hvae-studies.md), over all test images; there is also how the pair came to have five seeds.",
    "E4": "So samples have a lower ELBO than images, at every temperature tried, and an image comes back as far as its own latents are"
    " given. The ELBO is a bound whose encoder has only seen images, and may be looser for samples: that they are less likely is not"
    " shown. Nor is that every latent helps, only that none surely harms. Whether the scheme is stiff near the point mass, as D6 says of"
    " known processes, is another question; gains and gradients are shown for four samples, and not judged.",
    "E5": "So the states carry the Haar approximations better than those of any other basis at 4 x 4, 8 x 8 and 16 x 16, though the"
    " coarser, the less of them. But so do an untrained network's states, at 4 x 4 and 8 x 8 even more of them. That is likely the"
    " architecture's doing, as embedding by nearest neighbours is Haar's synthesis; no network that embeds otherwise was trained.",
    "E6": "So the likelihood stays within the bound around r' = r. But with steps of full length, which take more or less time than there"
    " is, it is not surely outside of it: for these networks, images and numbers of steps the check cannot tell a law in time from"
    " insensitivity or noise.",
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
