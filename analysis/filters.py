"""The dictionary of pooling filters: names of PyWavelets' wavelets to taps, and back."""

import pywt

from multires.errors import MultiresError
from multires.unet import POOLINGS

WAVELETS = ("haar", "db2", "db3", "sym4", "coif1", "bior2.2", "bior4.4")


def taps(wavelet: str) -> tuple[float, ...]:
    """The decomposition low-pass filter of a PyWavelets wavelet."""
    try:
        return tuple(pywt.Wavelet(wavelet).dec_lo)
    except (ValueError, TypeError):  # the latter for an empty name
        raise MultiresError(
            f"pooling {wavelet!r}: known are {', '.join(POOLINGS)}, and PyWavelets' discrete wavelets ({', '.join(WAVELETS)}, ...)"
        ) from None


def pooling(name: str) -> str | tuple[float, ...]:
    """What `UNetConfig.pooling` wants for a name: the name of a pooling, or the taps of a wavelet's low-pass filter."""
    return name if name in POOLINGS else taps(name)


def label(pooling: str | tuple[float, ...]) -> str:
    """The name of a pooling, given as `UNetConfig.pooling` holds it; of several names of one filter that in the dictionary."""
    if isinstance(pooling, str):
        return pooling
    names = (*WAVELETS, *pywt.wavelist(kind="discrete"))
    return next((name for name in names if taps(name) == tuple(pooling)), "custom")
