"""Fetching data sets from a real server on this machine: what is kept, what is not, and what the user is told.

The tests make data sets of a few kilobytes known to `download`, and let the server do all a server on the internet does:
answer, answer with the wrong bytes, stop in the middle, know nothing, or not be there.
"""

import gc
import hashlib
import socket
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pooch
import pytest

from analysis import cli
from analysis.terminal import download_bar
from multires import download
from multires.errors import MultiresError

# pooch leaves the connection of a failed transfer to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

FIRST, SECOND = (np.random.default_rng(seed).bytes(size) for seed, size in ((1, 5000), (2, 2500)))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Site:
    """What the server publishes, what it holds back of it, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    withheld: int = 0  # bytes that are promised, but do not come
    broken: bool = False  # answers 500 to everything
    asked: list[str] = field(default_factory=list)
    address: str = ""


@pytest.fixture(autouse=True, scope="module")
def no_connection_is_left_to_other_tests() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    published = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            published.asked.append(self.path)
            content = published.files.get(self.path)
            self.send_response(500 if published.broken else 404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if content:
                self.wfile.write(content[: len(content) - published.withheld])

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("NO_PROXY", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        published.address = f"http://127.0.0.1:{server.server_port}/"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield published
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address where nothing listens: the port is taken, so that nothing can begin to."""
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIRES_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "tiny"


Publish = Callable[..., None]


@pytest.fixture
def publish(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Publish files as the data set 'tiny', at the given address, or at the server's."""

    def publish(base: str | None = None, **files: bytes) -> None:
        site.files |= {f"/{name}": content for name, content in files.items()}
        source = download.Source(base or site.address, {name: sha256(content) for name, content in files.items()})
        monkeypatch.setitem(download.SOURCES, "tiny", source)

    return publish


class Bar:
    """A progress bar as pooch asks for one, that remembers."""

    def __init__(self, file: str) -> None:
        self.file, self.total, self.done, self.most, self.closed = file, 0, 0, 0, False

    def update(self, amount: int) -> None:
        self.done += amount
        self.most = max(self.most, self.done)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bars() -> list[Bar]:
    return []


@pytest.fixture
def progress(bars: list[Bar]) -> Callable[[str], Bar]:
    def progress(file: str) -> Bar:
        bars.append(Bar(file))
        return bars[-1]

    return progress


def kept(folder: Path) -> list[str]:
    """All that lies in a folder, hidden files too; nothing where there is no folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def refused(name: str = "tiny", **arguments: object) -> str:
    """The text of the error that fetching raises, once it is known to be one line."""
    with pytest.raises(MultiresError) as caught:
        download.fetch(name, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_files(site: Site, publish: Publish, target: Path, progress: Callable[[str], Bar], bars: list[Bar]) -> None:
    publish(first=FIRST, second=SECOND)
    assert download.fetch("tiny", progress=progress) == target
    assert kept(target) == ["first", "second"]
    assert (target / "first").read_bytes() == FIRST
    assert (target / "second").read_bytes() == SECOND
    assert site.asked == ["/first", "/second"]
    assert [(bar.file, bar.total, bar.done) for bar in bars] == [("first", 5000, 5000), ("second", 2500, 2500)]
    assert all(bar.closed and bar.most >= bar.total for bar in bars)


def test_without_progress(publish: Publish, target: Path) -> None:
    publish(first=FIRST)
    download.fetch("tiny")
    assert (target / "first").read_bytes() == FIRST


def test_with_the_bar_of_the_terminal(publish: Publish) -> None:
    publish(first=FIRST)
    bars: list[download_bar] = []

    def progress(file: str) -> download_bar:
        bars.append(download_bar(file))
        return bars[-1]

    download.fetch("tiny", progress=progress)
    assert [bar.total for bar in bars] == [len(FIRST)]


@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_replaces_the_published_address(site: Site, nobody: str, publish: Publish, target: Path, slash: str) -> None:
    publish(base=nobody, **{"first": FIRST})
    site.files = {"/deep/er/first": FIRST}
    download.fetch("tiny", mirror=site.address + "deep/er" + slash)
    assert site.asked == ["/deep/er/first"]
    assert (target / "first").read_bytes() == FIRST


def test_wrong_checksum(site: Site, publish: Publish, target: Path) -> None:
    publish(first=FIRST)
    site.files["/first"] = FIRST[:-1] + b"?"
    text = refused()
    assert site.address + "first" in text
    assert "wrong checksum" in text
    assert kept(target) == []


def test_what_was_right_is_kept_and_not_fetched_again(site: Site, publish: Publish, target: Path) -> None:
    publish(first=FIRST, second=SECOND)
    site.files["/second"] = FIRST
    assert site.address + "second" in refused()
    assert kept(target) == ["first"]
    site.files["/second"] = SECOND
    download.fetch("tiny")
    assert site.asked == ["/first", "/second", "/second"]
    assert kept(target) == ["first", "second"]


def test_interrupted_transfer(site: Site, publish: Publish, target: Path) -> None:
    publish(first=FIRST)
    site.withheld = 1000
    text = refused()
    assert site.address + "first" in text
    assert "transfer failed" in text
    assert kept(target) == []


def test_not_found(site: Site, publish: Publish, target: Path) -> None:
    publish(first=FIRST)
    site.files.clear()
    text = refused()
    assert site.address + "first" in text
    assert "404" in text
    assert kept(target) == []


def test_broken_server(site: Site, publish: Publish, target: Path) -> None:
    publish(first=FIRST)
    site.broken = True
    assert "500" in refused()
    assert kept(target) == []


def test_no_network(nobody: str, publish: Publish, target: Path) -> None:
    publish(base=nobody, **{"first": FIRST})
    text = refused()
    assert nobody + "first" in text
    assert "transfer failed" in text
    assert kept(target) == []


@pytest.mark.parametrize("failure", ["checksum", "interrupted", "not found"])
def test_the_bar_is_taken_away_when_a_transfer_fails(
    site: Site, publish: Publish, progress: Callable[[str], Bar], bars: list[Bar], failure: str
) -> None:
    """A bar that stays draws over the message, and leaves the terminal without a cursor."""
    publish(first=FIRST)
    if failure == "checksum":
        site.files["/first"] = SECOND
    elif failure == "interrupted":
        site.withheld = 1000
    else:
        site.files.clear()
    refused(progress=progress)
    assert [bar.closed for bar in bars] == [True]


@pytest.mark.parametrize("address", ["127.0.0.1/sets", "/somewhere/on/this/disk", "http://", "gopher://127.0.0.1/"])
def test_a_mirror_that_is_no_address(publish: Publish, target: Path, address: str) -> None:
    """Nothing was transferred, so nothing can be said of its checksum."""
    publish(first=FIRST)
    text = refused(mirror=address)
    assert address.rstrip("/") in text
    assert "checksum" not in text
    assert kept(target) == []


def test_folder_that_cannot_be_written(site: Site, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(first=FIRST)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MULTIRES_DATA", str(tmp_path / "file" / "below"))
    text = refused()
    assert str(tmp_path / "file" / "below" / "tiny") in text
    assert "MULTIRES_DATA" in text
    assert site.asked == []


@pytest.mark.parametrize("name", ["first.gz", "first"])
def test_already_present(site: Site, publish: Publish, target: Path, name: str) -> None:
    """Unpacked counts as present too."""
    publish(**{"first.gz": FIRST, "second.gz": SECOND})
    target.mkdir(parents=True)
    (target / name).write_bytes(FIRST)
    assert download.fetch("tiny") == target
    assert site.asked == ["/second.gz"]
    assert download.present("tiny", "first.gz") == target / name
    download.fetch("tiny")
    assert site.asked == ["/second.gz"]


def test_unknown_name(target: Path) -> None:
    text = refused("mnits")
    assert "'mnits'" in text
    assert all(name in text for name in ("mnist", "fashion-mnist", "cifar-10"))
    assert kept(target) == []


def test_present_knows_what_is_not_there(target: Path) -> None:
    assert download.present("tiny", "first.gz") is None
    (target / "first.gz").mkdir(parents=True)
    assert download.present("tiny", "first.gz") is None


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_sets_live_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("MULTIRES_DATA", raising=False)
    else:
        monkeypatch.setenv("MULTIRES_DATA", value)
    assert download.folder("mnist") == Path(pooch.os_cache("multires")) / "mnist"


@pytest.mark.parametrize("name", sorted(download.SOURCES))
def test_published_sources_are_well_formed(name: str) -> None:
    source = download.SOURCES[name]
    assert source.base.startswith(("https://", "http://"))
    assert source.base.endswith("/")
    assert source.files
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in source.files.values())


def command(*arguments: str) -> int | str | None:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments])
    return caught.value.code


def test_the_command_fetches_from_a_mirror(
    site: Site, nobody: str, publish: Publish, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(base=nobody, **{"first": FIRST})
    assert command("data", "fetch", "tiny", "--mirror", site.address) == 0
    assert capsys.readouterr() == (f"{target}\n", "")
    assert (target / "first").read_bytes() == FIRST


@pytest.mark.parametrize("failure", ["checksum", "interrupted", "not found", "no network", "unwritable"])
def test_the_command_says_in_one_line_what_failed(
    site: Site,
    nobody: str,
    publish: Publish,
    target: Path,
    capsys: pytest.CaptureFixture[str],
    failure: str,
) -> None:
    publish(base=nobody, **{"first": FIRST})
    if failure == "checksum":
        site.files["/first"] = SECOND
    elif failure == "interrupted":
        site.withheld = 1000
    elif failure == "not found":
        site.files.clear()
    elif failure == "unwritable":
        target.parent.write_text("not a folder")
    assert command("data", "fetch", "tiny", "--mirror", nobody if failure == "no network" else site.address) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("multires: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert kept(target) == []
