"""What the report shows of trained networks: their cards, and samples of HVAEs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from analysis import sheets
from analysis.figures import style
from multires import pretrained
from multires.errors import MultiresError, summary


@dataclass(frozen=True)
class Card:
    """One network: a row of the table, and samples of an HVAE as SVG."""

    name: str
    cells: list[str]
    samples: bytes


HEADINGS = ("network", "trained on", "parameters", "training steps", "test", "seconds", "device", "commit")


def shipped() -> list[str]:
    """The networks that ship by a name of their own; those of studies are in the studies' tables."""
    return [name for name in pretrained.names() if "/" not in name]


def cards(names: Iterable[str]) -> list[Card]:
    """The cards of weights, by name or path; raises MultiresError where there is none."""
    return [_read(name) for name in names]


def _read(name: str) -> Card:
    card, (net, _) = pretrained.card(name), pretrained.load(name)
    try:
        return _card(name, card, net)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise MultiresError(f"{name}: its card is damaged ({summary(error)}); train or fetch it again") from None


def _card(name: str, card: dict[str, Any], net: nn.Module) -> Card:
    hvae = card["kind"] == "hvae"
    cells = [
        name,
        _trained_on(card),
        f"{card['parameters']:,}",
        f"{card['steps']:,}" if "steps" in card else "-",
        _bounds(card) if hvae else f"loss {card['test_loss']:.3g}" if "test_loss" in card else "-",
        f"{card['seconds']:,.0f}" if "seconds" in card else "-",
        str(card.get("device", "-")),
        str(card.get("commit", "-")),
    ]
    return Card(name, cells, style.render(sheets.samples, net) if hvae else b"")


def _trained_on(card: dict[str, Any]) -> str:
    run = card["run"]
    if card["kind"] == "unet":
        pooling = card.get("pooling", run["model"]["pooling"])
        return f"{run['data']}: {run['task']['name']}, {pooling} pooling"
    return f"{run['data']}, " + ("256 grey values" if run["binarise"] == "no" else f"binarised: {run['binarise']}")


def _bounds(card: dict[str, Any]) -> str:
    """Bounds on the log likelihood, in nats for each image with standard errors."""
    found = {"ELBO": card.get("elbo"), "L_K": card.get("importance")}
    shown = []
    for bound, values in found.items():
        if values:
            name = f"L_{values['draws']}" if bound == "L_K" else bound
            error = "" if values["standard_error"] is None else f" ± {values['standard_error']:.2f}"
            shown.append(f"{name} {values['nats']:.2f}{error} nats")
    return ", ".join(shown) or "-"
