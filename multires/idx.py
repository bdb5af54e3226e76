"""Reading IDX files, the format of MNIST: a magic number, big-endian sizes, then the values; gzipped or not.

Nothing in the header is trusted: memory grows with what the file holds, never with what its header claims.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "the IDX file format".
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from multires.errors import MultiresError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PIECE = 1 << 20


def read_idx(path: Path) -> np.ndarray:
    """Return the array an IDX file holds, in native byte order. A name that ends in .gz is decompressed.

    Raises MultiresError for a file that is missing, truncated, corrupt, or whose header does not match its content.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _parse(stream, path)
    except EOFError:
        raise MultiresError(f"{path}: the compressed file is cut short; delete it, then fetch or copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise MultiresError(f"{path}: not a gzip file, or corrupt ({error}); delete it, then fetch or copy it again") from None
    except OSError as error:
        raise MultiresError(f"{path}: cannot be read ({error.strerror or error})") from None


def _parse(stream: BinaryIO | gzip.GzipFile, path: Path) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or magic[3] == 0:
        raise MultiresError(f"{path}: starts with {magic.hex() or 'nothing'}, which no IDX file does (idx3-ubyte: 00000803)")
    sizes_bytes = stream.read(4 * magic[3])
    if len(sizes_bytes) < 4 * magic[3]:
        raise MultiresError(f"{path}: the header is cut short; delete it, then fetch or copy it again")
    shape = struct.unpack(f">{magic[3]}I", sizes_bytes)
    dtype = np.dtype(DTYPES[magic[2]])
    claimed = math.prod(shape) * dtype.itemsize
    content = bytearray()
    while len(content) <= claimed and (piece := stream.read(PIECE)):
        content += piece
    if len(content) != claimed:
        found = f"{len(content):,}" if len(content) < claimed else "more"
        claim = " x ".join(f"{n:,}" for n in shape)
        raise MultiresError(
            f"{path}: the header claims {claim} values, {claimed:,} bytes, but {found} follow; delete it and fetch it again"
        )
    try:
        return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    except ValueError as error:  # more axes, or a larger product of empty ones, than NumPy has
        raise MultiresError(f"{path}: no array has the header's shape ({error}); delete it, then fetch or copy it again") from None
