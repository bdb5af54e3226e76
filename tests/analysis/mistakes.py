"""An empty desk to make mistakes on, and the one line that each has to come to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analysis import cli


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder to work in, no data sets, and every warning every time."""
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.setenv("MULTIRES_DATA", str(tmp_path / "data"))
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run the command and return its line on standard error, once it is known that it exits 2 and says nothing else."""

    def refused(*arguments: str | Path) -> str:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert caught.value.code == 2
        assert out == ""
        assert err.startswith("multires: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        return err

    return refused


def files(folder: Path) -> list[Path]:
    """All there is below a folder, hidden or not; nothing where there is no folder."""
    return sorted(folder.rglob("*"))


def grey(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
