"""`multires bench`: our code beside its peers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Bench:
    """Time our code beside its peers, in one run; ratios are fastest peer / ours."""

    name: Positional[Literal["haar", "capture", "audit", "hvae"]] = "haar"
    """What to time: haar, the transform beside PyWavelets and ptwt; capture, recording activations beside the plain forward;
    audit, an audit of a large U-Net beside its forward; hvae, training, evaluating and sampling an HVAE beside a plain reading
    of the same network."""
    json: Path | None = None
    """Also write the rows to this file."""

    def run(self) -> int:
        """Measure, print, write."""
        from analysis import bench, bench_audit, bench_capture, bench_hvae, record, terminal
        from analysis.provenance import commit
        from multires import files

        if self.json:
            files.require_writable(self.json)
        timed = {
            "haar": bench.haar_rows,
            "capture": bench_capture.capture_rows,
            "audit": bench_audit.audit_rows,
            "hvae": bench_hvae.hvae_rows,
        }[self.name]()
        rows = list(terminal.progress(timed, None, "timing", lambda row: str(row["case"])))
        terminal.show_bench(rows)
        if self.json:
            files.write(
                self.json, record.dumps({"bench": self.name, "rows": rows, "commit": commit(), "versions": record.environment()})
            )
        return 0
