"""What the docs take from the cards of shipped HVAEs: the page with their table and sheets."""

from pathlib import Path
from typing import Any

import markdown_tables

from multires import pretrained

PAGE = Path(__file__).parent
INTRODUCTION = """# The HVAEs that ship

Written by `docs/generate.py` from their cards. Bounds are over the whole test set, in nats for each image with standard errors:
the ELBO with one draw, and the importance-weighted bound $L_K$ with K. *Binarised: dynamic* draws each pixel from its grey value, for
the test once with a fixed seed. Other people's figures for binarised MNIST, where the binarisation is not always stated: 79.98 for
WS-VDVAE (a leaderboard), 79.09 for Efficient-VDVAE (its README). `multires evaluate NAME --draws K` computes a row again.
The curve of a sheet that says *test* is over the first 1,000 test images, so that it may end some nats off the table.

"""


def cards() -> dict[str, dict[str, Any]]:
    """The cards of all shipped HVAEs."""
    return {name: pretrained.card(name, "hvae") for name in pretrained.names() if name.startswith("hvae-")}


def table() -> str:
    """The text of docs/hvae-weights.md."""
    headings = ["weights", "protocol", "parameters", "-ELBO", "-L_K", "bits/dim"]
    rows = [_row(name, card) for name, card in cards().items()]
    sheets = [_sheet(name, card) for name, card in cards().items()]
    return INTRODUCTION + markdown_tables.table(headings, rows) + "\n" + "\n".join(sheets)


def _row(name: str, card: dict[str, Any]) -> list[str]:
    run, elbo, importance = card["run"], card["elbo"], card.get("importance")
    protocol = f"{card['data']}, " + ("256 grey values" if run["binarise"] == "no" else f"binarised: {run['binarise']}")
    bound = f"{-importance['nats']:.2f} ± {importance['standard_error']:.2f}, K = {importance['draws']}" if importance else "-"
    minus = f"{-elbo['nats']:.2f} ± {elbo['standard_error']:.2f}"
    return [name, protocol, f"{card['parameters']:,}", minus, bound, f"{elbo['bits_per_dimension']:.3f}"]


def _sheet(name: str, card: dict[str, Any]) -> str:
    sizes = [r["size"] for r in reversed(card["run"]["model"]["resolutions"]) for _ in range(r["steps"])]
    kls = "; ".join(
        f"{size} x {size}: " + ", ".join(f"{kl:.2f}" for kl, at in zip(card["kl"], sizes, strict=True) if at == size)
        for size in dict.fromkeys(sizes)
    )
    return f"""## {name}

![Test images, their reconstructions, samples, and the loss over training]({name}.png)

`{card["command"]}`: {card["steps"]:,} steps in {card["seconds"]:,.0f} s on {card["device"]}.
KL of each step in nats, by resolution: {kls}.
"""
