"""What the docs take from `multires verify --out docs/record`: what each claim about trained HVAEs came to."""

import json
from pathlib import Path

RECORD = Path(__file__).parent / "record" / "evidence.json"
MEANING = {
    "E1": "So the norm of the state does grow with depth, and time can be read from the state. But growth is no sign of training: an"
    " untrained network's states are random walks, whose norm grows as surely, and the norms of its channels tell the time too. What"
    " training adds is that the channels' means tell it, at all steps and within resolutions.",
    "E2": "So at this size, after this short a training, normalising the state costs nothing that other seeds do not cost as well. It does"
    " not take time from the network altogether: the learned start of each resolution is added to the state after it was normalised."
    " [All runs](hvae-studies.md), over all test images.",
    "E3": "So one cell a resolution, repeated five times, does better than three cells of its own with twice as many parameters, and takes"
    " 16 steps in time instead of 10 for it; at equal depth neither is surely the better. This compares networks after the same short"
    " training; it is not the state of the art. [All runs](hvae-studies.md), over all test images; there is also how the pair came"
    " to have five seeds.",
    "E4": "So samples are less likely than images, at every temperature, and an image comes back as far as its own latents are given."
    " This is a statement about samples. Whether the scheme is stiff near the point mass, as D6 says of known processes, is another:"
    " in this network the first steps amplify least.",
    "E5": "So the states do carry the Haar approximations best at every resolution, though the coarser, the less of them. But an untrained"
    " network's states do so too, as embedding by nearest neighbours is Haar's synthesis: the order of bases is the architecture's, not"
    " learned.",
    "E6": "So the likelihood changes little around r' = r. But it also changes little with steps of full length, which take more or"
    " less time than there is: for these networks and numbers of steps the check cannot tell a law in time from insensitivity.",
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
