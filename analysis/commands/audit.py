"""`multires audit`: where any network's resolution changes, and what it does there."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from analysis.auditing import Audit as Found

ROUNDING = 1e-12


@dataclass(frozen=True)
class Audit:
    """Find every place where a network's resolution falls or rises, and say how far each is from the L2 projection."""

    network: Positional[str]
    """pkg.module:build or file.py:build, which is run and returns a torch.nn.Module; or shipped weights, a run's folder, a
    .safetensors file with its card, or one of openai/vdvae's state dicts."""
    weights: Path | None = None
    """Weights for the network that was built, a .safetensors file."""
    input: tuple[str, ...] = ()
    """The arguments of the forward: shapes, such as 4x3x64x64, and numbers. Read-outs need 4 images or more."""
    data: str | None = None
    """Images instead of noise: natural, digits, mnist, fashion-mnist, cifar-10, or a path."""
    figure: Path | None = None
    """Also draw the network's pyramid to this file."""
    json: Path | None = None
    """Also write what was found to this file."""

    def run(self) -> int:
        """Load, audit, print, write."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from analysis import auditing, builders, terminal
        from analysis.figures import audit as figure
        from analysis.figures import style
        from multires import files

        if self.json:
            files.require_writable(self.json)
        if self.figure:
            style.require_writable(self.figure)
        net, arguments, note = builders.prepare(self.network, self.weights, self.input, self.data)
        found = auditing.audit(net, arguments)
        print(f"{self.network}: {found.model}, {found.parameters:,} parameters; {note}; {found.seconds:.1f} s")
        if found.sites:
            terminal.show_table(("#", "side", "kind", "cells", "channels", "module", "line"), _sites(found))
        else:
            print("no site found: no call that was seen changes the resolution")
        for number, site in enumerate(found.sites, 1):
            print(f"{number:>2} {site.verdict}")
        for title, rows in _tables(found):
            print(title)
            terminal.show_table(rows[0], rows[1:])
        for sentence in found.notes:
            print(sentence)
        if self.json:
            files.write_json(self.json, found.to_json() | {"network": self.network, "images": note})
        if self.figure:
            style.save(figure.pyramid, found, self.figure)
        return 0


def _sites(found: "Found") -> Iterator[list[str]]:
    for number, site in enumerate(found.sites, 1):
        cells = " -> ".join(" x ".join(map(str, sides)) for sides in (site.before, site.after))
        channels = f"{site.channels[0]} -> {site.channels[1]}"
        line = Path(site.line).name if site.line else "-"
        yield [str(number), site.side, site.kind, cells, channels, site.path or "(the network)", line]


def _tables(found: "Found") -> Iterator[tuple[str, list[list[str]]]]:
    """Unexplained fractions of filters and of read-outs, each beside those with random weights; then what survives."""
    for title, name in (
        ("filter: unexplained fraction of each wavelet, best channel mixing (with random weights)", "filters"),
        ("read-out of the coarse side: unexplained fraction of each wavelet's approximation (with random weights)", "readout"),
    ):
        rows = []
        for number, site in enumerate(found.sites, 1):
            measured = {} if isinstance(site.measured, str) else site.measured.filters
            mine, random = (measured, site.random) if name == "filters" else (site.readout, site.random_readout)
            if mine:
                rows.append([str(number), *(_pair(value, wavelet, random) for wavelet, value in mine.items())])
                headings = ["#", *mine]
        if rows:
            yield title, [headings, *rows]
    survivors = [(str(number), site.survival) for number, site in enumerate(found.sites, 1) if site.survival]
    if survivors:
        bands = list(survivors[0][1])
        rows = [[number, *(f"{sum(table[band].values()):.2g}" for band in bands)] for number, table in survivors]
        yield (
            "noise in each Haar band of the input (d1 finest): energy in the site's output, the best band's 1",
            [["#", *bands], *rows],
        )


def _pair(value: float, wavelet: str, random: Mapping[str, float] | None) -> str:
    return _short(value) + (f" ({_short(random[wavelet])})" if random else "")


def _short(fraction: float) -> str:
    return "0" if fraction < ROUNDING else f"{fraction:.2g}"
