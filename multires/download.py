"""Fetching data sets: every file with its address and SHA-256, put in place only when whole and right.

A set lives in $MULTIRES_DATA/<name>/ where that variable is set, else in the user's cache directory.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multires.errors import MultiresError


@dataclass(frozen=True)
class Source:
    """Where a data set is published: a base address, and the SHA-256 of each file."""

    base: str
    files: dict[str, str]


SOURCES = {
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        },
    ),
    "fashion-mnist": Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        },
    ),
    "cifar-10": Source(
        "https://www.cs.toronto.edu/~kriz/",
        # the binary version: the "python" one is pickled, and no pickle is ever loaded
        {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    ),
}


def folder(name: str) -> Path:
    """Return the folder where the files of a data set belong."""
    import pooch

    root = os.environ.get("MULTIRES_DATA")
    return (Path(root) if root else Path(pooch.os_cache("multires"))) / name


def present(name: str, file: str) -> Path | None:
    """Return the path of a file of a data set, or None; a gzipped file may also lie there unpacked."""
    candidates = [folder(name) / file, folder(name) / file.removesuffix(".gz")]
    return next((path for path in candidates if path.is_file()), None)


def fetch(name: str, mirror: str | None = None, progress: Callable[[str], Any] | None = None) -> Path:
    """Download what is missing of a data set, check it, and return its folder.

    `mirror` replaces the published base address; `progress(file)` may return a bar with pooch's `progressbar` interface.
    Files appear under their names only once their SHA-256 is right. Raises MultiresError for an unknown name, no
    network, an interrupted transfer, a wrong checksum or a folder that cannot be written.
    """
    import pooch
    import requests

    if name not in SOURCES:
        raise MultiresError(f"no data set {name!r} to fetch: known are {', '.join(SOURCES)}")
    source, target = SOURCES[name], folder(name)
    base = mirror.rstrip("/") + "/" if mirror else source.base
    for file, sha256 in source.files.items():
        if present(name, file):
            continue
        bar = progress(file) if progress else None
        downloader = pooch.HTTPDownloader(progressbar=bar or False, timeout=30)
        try:
            pooch.get_logger().setLevel("ERROR")
            pooch.retrieve(base + file, f"sha256:{sha256}", fname=file, path=target, downloader=downloader)
        except requests.HTTPError as error:
            raise MultiresError(f"{base + file}: the server answered {error.response.status_code}; try another --mirror") from None
        except requests.RequestException as error:  # before ValueError: a bad address is both
            reason = type(error).__name__
            raise MultiresError(
                f"{base + file}: the transfer failed ({reason}), nothing kept; try again, or another --mirror"
            ) from None
        except ValueError:
            raise MultiresError(f"{base + file}: wrong checksum, nothing kept; try again, or another --mirror") from None
        except OSError as error:
            raise MultiresError(
                f"{target}: cannot be written ({error.strerror or error}); set MULTIRES_DATA to another folder"
            ) from None
        finally:
            if bar:
                bar.close()
    return target
