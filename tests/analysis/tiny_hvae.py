"""For tests of HVAEs' runs: a tiny one of the digits, begun, gone on with and trained; and the command."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis import cli, runs
from multires.hvae_configs import HVAE_PRESETS, HVAERun, Resolution
from multires.training import Record, Step

TINY = replace(
    HVAE_PRESETS["digits"],
    model=replace(
        HVAE_PRESETS["digits"].model, resolutions=(Resolution(8, 0, 1), Resolution(4, 1, 2, shared=True)), width=8, mixtures=2
    ),
    training=replace(HVAE_PRESETS["digits"].training, steps=200, batch=8, warmup=10, log_every=1, save_every=70),
    free_nats=0.0,  # which would make losses depend on how many steps follow
)


def go(folder: Path, run: HVAERun = TINY, until: int | None = None) -> list[Record]:
    """Train the run of a folder; if told so, stop as a killed process does, right after the checkpoint of that step."""
    settled = runs.read(folder) if (folder / runs.CONFIG).exists() else runs.begin(run, folder)
    records = []
    for record in runs.go(settled, folder):
        records.append(record)
        if until is not None and record.step > until:
            break
    return records


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    folder = tmp_path_factory.mktemp("hvae") / "run"
    return folder, go(folder)


def losses(records: list[Record]) -> list[float]:
    return [record.loss for record in records if isinstance(record, Step)]


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    assert isinstance(end.value.code, int)
    return end.value.code
