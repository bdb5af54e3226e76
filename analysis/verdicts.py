"""One sentence of verdict for a site: what its operator is, or how far it is from what."""

from analysis.resampling import EXACT, Measured

FLOAT32 = 2.0**-23  # no further off than weights in float32 can be
TOLD = 1e-6  # an unexplained fraction below this is the rounding of weights in float32 and of the transforms


def verdict(
    kind: str, before: tuple[int, ...], after: tuple[int, ...], learned: bool, found: Measured, random: dict[str, float]
) -> str:
    """The sentence; `before` and `after` are the sides, `random` the unexplained fractions with random weights."""
    if found.factors is None:
        return f"no projection: {_sides(before)} cells do not divide into {_sides(after)}" + _nonlinear(kind, found)
    falls = sum(before) > sum(after)
    if not found.linear:
        what = "the" if found.channelwise else "channels mixed from the"
        distance = "" if found.action is None else f"; {_percent(found.action)} from {what} Haar projection on these activations"
        return f"not linear: {kind.removesuffix(' pooling')}{distance}{_closest(found, ', closest to')}"
    exact = _exact(falls, learned, found)
    if exact:
        return exact
    added = " but for a constant" if found.constant and found.constant > EXACT else ""
    apart = "" if found.distance is None else f"; {_percent(found.distance)} from the Haar {_projection(falls)}{added}"
    rest = {
        "everywhere": "",
        "inside": "; another filter at the border",
        "nowhere": "; another filter elsewhere than in the centre",
    }
    elsewhere = "" if learned and found.translates == "inside" else rest[found.translates]
    if found.single and falls and not found.lossless and found.translates != "nowhere":
        what = f"{'learned' if learned else 'fixed'} weights of one cell of each block: subsampling"
        return f"{what}, no projection{apart}{elsewhere}"
    if found.single and not falls and found.channelwise:
        return f"each cell to one cell of its block, zeros between: no embedding{apart}"
    if found.lossless:
        moved = "cells into channels" if falls else "channels into cells"
        return f"no {_projection(falls)}: it moves {moved} and loses nothing"
    name = min(found.filters, key=lambda wavelet: found.filters[wavelet], default=None)
    kept = "low-pass" if falls else "reconstruction"
    if name and name != "haar" and found.filters[name] <= TOLD and found.channelwise and not learned:
        return f"{name} {kept}, {_percent(found.filters[name])} unexplained{apart}{elsewhere}"
    beside = f" ({_percent(min(random.values()))} with random weights)" if learned and random else ""
    return f"{'learned' if learned else 'fixed filter'}{_closest(found, ', closest to')}{beside}{apart}{elsewhere}"


def _exact(falls: bool, learned: bool, found: Measured) -> str | None:
    if found.worst is None or found.scale is None or found.scaled is None or found.factors is None:
        return None
    name = f"Haar {_projection(falls)}"
    if any(factor & (factor - 1) for factor in found.factors):
        name = f"{_projection(falls)} of blocks of {_sides(found.factors)} cells, not dyadic"
    if found.worst <= EXACT:
        return f"{name}, exact" + (" (its weights are learned)" if learned else "")
    if found.distance is not None and found.worst <= 10 * FLOAT32 and found.distance <= FLOAT32:
        return f"{name} within {found.distance:.0e}"
    if found.scaled <= EXACT * max(1.0, abs(found.scale)):
        return f"{name} times {found.scale:.6g}: no projection itself"
    return None


def _projection(falls: bool) -> str:
    return "projection" if falls else "embedding"


def _nonlinear(kind: str, found: Measured) -> str:
    return "" if found.linear else f"; not linear: {kind.removesuffix(' pooling')}"


def _closest(found: Measured, introduction: str) -> str:
    if not found.filters:
        return ""
    name = min(found.filters, key=lambda wavelet: found.filters[wavelet])
    return f"{introduction} {name}, {_percent(found.filters[name])} unexplained"


def _percent(fraction: float) -> str:
    percent = 100 * fraction if fraction > 1e-14 else 0.0  # below is rounding
    if percent and percent < 0.01:
        return f"{percent:.0e} %"
    return f"{percent:.0f} %" if percent >= 99.5 else f"{percent:.2g} %"


def _sides(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))
