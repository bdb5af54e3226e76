"""What an audit costs, for a U-Net of about 30 million parameters at 64 x 64: its time, and its memory beside the forward pass.

Each is measured in a process of its own: seconds of the first call, as a user waits for it, and the peak of the resident memory
(Linux's VmHWM) of the whole process, its network included.
"""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from analysis.auditing import audit
from analysis.peak import peak_mib
from multires.configs import UNetConfig
from multires.unet import UNet

CONFIG = UNetConfig(channels=3, widths=(88, 176, 352, 704), blocks=2)
SIDE = 64
BATCHES = (1, 16)
Row = dict[str, Any]


def audit_rows() -> Iterator[Row]:
    """Yield for each batch the time, ratio plain / audit, and the peak of an audit over that of the forward pass."""
    million = sum(parameter.numel() for parameter in UNet(CONFIG).parameters()) / 1e6
    for images in BATCHES:
        what = f"audit of a U-Net of {million:.0f} million parameters, {images} x {CONFIG.channels} x {SIDE} x {SIDE}"
        (plain_s, plain_mib), (ours_s, ours_mib) = (_alone(CONFIG, SIDE, images, audited) for audited in (False, True))
        yield {"case": what, "ratio": plain_s / ours_s, "ours_s": ours_s, "peers": {"plain forward": plain_s}}
        if plain_mib is not None and ours_mib is not None:
            case = f"{what}: peak memory over the plain forward's, {ours_mib:,.0f} MiB / {plain_mib:,.0f} MiB"
            yield {"case": case, "value": ours_mib / plain_mib, "ratio": None, "ours_s": ours_s, "peers": {}}


def _alone(*arguments: Any) -> tuple[float, float | None]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, *arguments).result()


def _measured(config: UNetConfig, side: int, images: int, audited: bool) -> tuple[float, float | None]:
    """Seconds, and the peak in MiB where the system tells it."""
    net, x = UNet(config), torch.rand(images, config.channels, side, side)
    start = time.perf_counter()
    if audited:
        audit(net, x)
    else:
        with torch.no_grad():
            net(x)
    seconds = time.perf_counter() - start
    return seconds, peak_mib()
