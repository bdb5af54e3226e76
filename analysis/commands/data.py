"""`multires data`: list the data sets, fetch one."""

import sys
from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from multires.errors import MultiresError


@dataclass(frozen=True)
class Data:
    """List the data sets, or fetch one with checksums."""

    action: Positional[Literal["list", "fetch"]]
    """list what there is, or fetch NAME."""
    name: Positional[str] = ""
    """mnist, fashion-mnist or cifar-10."""
    mirror: str | None = None
    """Fetch from this address instead of where the set is published."""

    def run(self) -> int:
        """Print the list, or the folder that now holds the files."""
        from analysis import terminal
        from multires import download
        from multires.data import SETS

        if self.action == "list":
            for name in SETS:
                source = download.SOURCES.get(name)
                if source is None:
                    print(f"{name:14} comes with the dependencies")
                else:
                    here = all(download.present(name, file) for file in source.files)
                    print(f"{name:14} {'in ' + str(download.folder(name)) if here else 'not here: multires data fetch ' + name}")
            return 0
        if not self.name:
            raise MultiresError(f"data fetch: name a set: {', '.join(download.SOURCES)}")
        print(download.fetch(self.name, self.mirror, terminal.download_bar if sys.stderr.isatty() else None))
        return 0
