"""What several tests of the evidence look at, measured once."""

from contextlib import suppress
from dataclasses import replace

import pytest

from analysis import claims
from analysis.claims import sampled
from analysis.evidence import REGISTRY, Context, Evidence, Skipped
from multires import data
from tests.analysis.few_patches import fewer
from tests.analysis.mistakes import desk, refused
from tests.analysis.tiny_hvae import trained

assert claims
assert desk  # fixtures for all tests here
assert fewer
assert refused
assert trained
TRAINED = ("C2", "C3", "C5", "C6")  # they need patches of 32 x 32, which digits are too small for


@pytest.fixture(scope="session")
def measured() -> dict[str, Evidence]:
    """The evidence of every claim on a few digits, or on photographs where digits are too small."""
    digits, natural = data.load("digits"), data.load("natural")
    few = replace(digits, batches=(digits.batches[0][:64],))
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampled, "MANY", 1000)  # enough to look at
        for id, each in REGISTRY.items():
            with suppress(Skipped):  # claims about weights whose images are not on this machine
                found[id] = each.measure(Context(natural if id in TRAINED else few, 0, id))
    return found


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that look at the evidence in one process, where several share the tests."""
    for item in items:
        if "measured" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("measured"))
