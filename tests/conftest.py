"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE: dev (the default), ci (what `make test` uses), intense (by hand)."""

import contextlib
import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

from multires import _kernel, download

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile("dev", max_examples=15, deadline=None, suppress_health_check=SLOW_IS_FINE)
settings.register_profile("ci", max_examples=40, deadline=None, derandomize=True, suppress_health_check=SLOW_IS_FINE)
settings.register_profile("intense", max_examples=2000, deadline=None, suppress_health_check=SLOW_IS_FINE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=["compiled", "slicing"])
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test with the compiled Haar transform and with tensor slicing."""
    if request.param == "compiled" and _kernel.LIBRARY is None:
        pytest.skip("multires was installed without a C compiler: only slicing can be tested")
    with _kernel.disabled() if request.param == "slicing" else contextlib.nullcontext():
        yield request.param


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Run a test on the CPU, and on a GPU where there is one."""
    if request.param not in DEVICES:
        pytest.skip("no CUDA device on this machine")
    return str(request.param)


@pytest.fixture
def data_set(request: pytest.FixtureRequest) -> None:
    """Skip a test over the named set where $MULTIRES_DATA does not hold it."""
    name = request.getfixturevalue("name")
    if not all(download.present(name, file) for file in download.SOURCES[name].files):
        pytest.skip(f"{name} is not on this machine: set MULTIRES_DATA, or run multires data fetch {name}")


@pytest.fixture
def warn_always() -> Iterator[None]:
    """Let PyTorch give each of its warnings every time."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)
