"""Images as tensors of shape (image, channel, y, x), sides one power of two, values in [0, 1] for photographs.

Three of the sets need no download: `natural` (the photographs that PyWavelets ships, whole and in patches) and `digits`
(scikit-learn's 8 x 8 digits) come with the dependencies; a path reads the user's own. The others are fetched by
`multires data fetch NAME`. MNIST and Fashion-MNIST have 28 x 28 pixels and are set in 32 x 32 with a border of zeros.
"""

import gzip
import tarfile
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multires import download
from multires.errors import MultiresError
from multires.idx import read_idx
from multires.spaces import resolution, sides

PATCH = 32
BORDER = 2  # of MNIST and Fashion-MNIST
LARGEST = 1e30  # sums over a million cells stay finite in float32, and halving a small value stays exact


@dataclass(frozen=True)
class Images:
    """A set of images: batches of one shape each, and one line that says what they are.

    `test` counts the last images of the only batch that are the set's published test images, 0 where it names none;
    `views` counts the last batches that show the pixels of earlier ones again. `border` is the number of pixels on each edge that
    only pad an image, None where that is not known.
    """

    name: str
    note: str
    batches: tuple[Tensor, ...]
    test: int = 0
    views: int = 0
    border: int | None = None


def load(name: str) -> Images:
    """Return the images of a named set, or those at a path: an image, a folder of images, or an .npy array.

    Raises MultiresError for an unknown name, a set that is not on this machine, and images that cannot be used: empty,
    not finite, not floating point, or with sides that are not one power of two of at least 4.
    """
    if name in SETS:
        images = SETS[name]()
    elif _exists(name):
        images = _from_path(Path(name))
    else:
        raise MultiresError(
            f"no data set or file {name!r}: known sets are {', '.join(SETS)}; or give an image, a folder or an .npy file"
        )
    for batch in images.batches:
        _check(batch, name)
    return images


def _exists(name: str) -> bool:
    try:
        return name != "" and Path(name).exists()
    except (OSError, ValueError):  # a name too long, or with a null character, for any file
        return False


def _check(batch: Tensor, where: str) -> None:
    if batch.numel() == 0:
        raise MultiresError(f"{where}: no images in it (shape {tuple(batch.shape)})")
    try:
        j = resolution(batch)
    except MultiresError as error:
        raise MultiresError(f"{where}: {error}") from None
    if j < 2:
        raise MultiresError(f"{where}: images of {sides(batch)} cells have too few resolutions, 4 x 4 is the least")
    if not bool(batch.isfinite().all()):
        raise MultiresError(f"{where}: {int((~batch.isfinite()).sum())} values are NaN or infinite; cell values must be finite")
    size = batch.abs()
    if bool(((size > LARGEST) | ((size < 1 / LARGEST) & (size > 0))).any()):
        raise MultiresError(
            f"{where}: sizes beyond {LARGEST:g} or below {1 / LARGEST:g} over- or underflow in float32; scale the values"
        )


def _scaled(values: np.ndarray) -> Tensor:
    """8-bit grey values as float32 in [0, 1]."""
    return torch.from_numpy(values.astype(np.float32)).div_(255)


def _natural() -> Images:
    import pywt.data

    names = ("aero", "ascent", "camera")
    whole = torch.stack([_scaled(getattr(pywt.data, name)()) for name in names])[:, None]
    patches = whole.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).reshape(-1, 1, PATCH, PATCH)
    note = f"{len(names)} photographs of 512 x 512 and their {len(patches)} patches of {PATCH} x {PATCH}, from PyWavelets"
    return Images("natural", note, (whole, patches.contiguous()), views=1, border=0)


def _digits() -> Images:
    from sklearn.datasets import load_digits

    values = torch.from_numpy(load_digits().images).float().div_(16)[:, None]
    return Images("digits", f"{len(values):,} handwritten digits of 8 x 8, from scikit-learn", (values,), border=0)


def _required(name: str, file: str) -> Path:
    path = download.present(name, file)
    if path is None:
        raise MultiresError(f"{name}: no {file} in {download.folder(name)}; run: multires data fetch {name}")
    return path


def _mnist(name: str) -> Images:
    parts = []
    for file in download.SOURCES[name].files:
        path = _required(name, file)
        values = read_idx(path)
        if values.ndim != 3 or values.dtype != np.uint8 or values.shape[1:] != (28, 28):
            raise MultiresError(f"{path}: holds {values.dtype} of shape {values.shape}; expected uint8 of (count, 28, 28)")
        parts.append(_scaled(values))
    images = torch.nn.functional.pad(torch.cat(parts)[:, None], [BORDER] * 4)
    note = f"{len(images):,} images of 28 x 28, set in 32 x 32 with a border of zeros"
    return Images(name, note, (images,), test=len(parts[-1]), border=BORDER)


def _cifar10() -> Images:
    path = _required("cifar-10", "cifar-10-binary.tar.gz")
    members = [f"cifar-10-batches-bin/{part}.bin" for part in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")]
    record = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
    parts = []
    try:
        # as a stream of gzip's, read to its end below: only there does gzip compare its checksum
        with gzip.open(path) as whole, tarfile.open(fileobj=whole, mode="r:") as archive:
            for member in members:
                stream = archive.extractfile(member)
                content = stream.read() if stream else b""
                if not content or len(content) % record:
                    raise MultiresError(
                        f"{path}: {member} has {len(content):,} bytes, no whole number of {record}; delete it, then fetch it again"
                    )
                parts.append(np.frombuffer(content, np.uint8).reshape(-1, record)[:, 1:].reshape(-1, 3, 32, 32))
            while whole.read(1 << 20):
                pass
    except (tarfile.TarError, zlib.error, EOFError, KeyError, OSError) as error:
        raise MultiresError(f"{path}: not the CIFAR-10 archive, or corrupt ({error}); delete it, then fetch it again") from None
    images = _scaled(np.concatenate(parts))
    return Images("cifar-10", f"{len(images):,} colour images of 32 x 32", (images,), test=len(parts[-1]), border=0)


SETS: dict[str, Callable[[], Images]] = {
    "natural": _natural,
    "digits": _digits,
    "mnist": lambda: _mnist("mnist"),
    "fashion-mnist": lambda: _mnist("fashion-mnist"),
    "cifar-10": _cifar10,
}


def _from_path(path: Path) -> Images:
    if path.is_dir():
        return _from_folder(path)
    if path.suffix.lower() == ".npy":
        array = _from_npy(path)
        return Images(str(path), f"{len(array):,} images of {sides(array)}, {array.shape[1]} channels, from {path.name}", (array,))
    batches, count = _batches([path])
    note = f"{count:,} images" if count > 1 else f"one image of {sides(batches[0])}, {batches[0].shape[1]} channels,"
    return Images(str(path), f"{note} from {path.name}", batches)


def _batches(paths: list[Path]) -> tuple[tuple[Tensor, ...], int]:
    """The images of files, one batch for each shape, and how many they are."""
    by_shape: dict[tuple[torch.Size, torch.dtype], list[Tensor]] = {}
    for path in paths:
        for image in _from_image(path):
            _check(image, str(path))
            by_shape.setdefault((image.shape, image.dtype), []).append(image)
    batches = tuple(torch.cat(images) for images in by_shape.values())
    return batches, sum(map(len, batches))


def _from_npy(path: Path) -> Tensor:
    try:
        with warnings.catch_warnings(action="ignore"):
            array = np.lib.format.open_memmap(path, mode="r")  # mapped: a header that lies about its size cannot allocate
    except Exception as error:  # the header is evaluated as Python literals, and what that may raise is open
        raise MultiresError(f"{path}: not an array that numpy.save wrote, or cut short ({error})".replace("\n", " ")) from None
    if not np.issubdtype(array.dtype, np.floating):
        raise MultiresError(f"{path}: holds {array.dtype}; cell values are floating point, save it as a.astype('float64')")
    if array.ndim not in (2, 3, 4):
        raise MultiresError(f"{path}: has shape {array.shape}; expected (y, x), (image, y, x) or (image, channel, y, x)")
    dtype = np.float64 if array.dtype.itemsize >= 8 else np.float32
    values = torch.from_numpy(array.astype(dtype))
    return values[None, None] if array.ndim == 2 else values[:, None] if array.ndim == 3 else values


def _from_image(path: Path) -> list[Tensor]:
    """Each page of a TIFF; of an animation, and of a picture with others behind it, the first."""
    from PIL import Image, ImageOps, ImageSequence

    pictures = []
    try:
        with warnings.catch_warnings(action="ignore"):
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                for page in ImageSequence.Iterator(image) if image.format == "TIFF" else [image]:
                    upright = ImageOps.exif_transpose(page)  # as every viewer shows what a camera held on its side took
                    deep = page.mode.startswith(("I", "F"))  # 16-bit and floating-point grey keep their depth
                    grey = page.mode in ("1", "L", "LA")
                    pictures.append(np.asarray(upright if deep else upright.convert("L" if grey else "RGB")))
    except Exception as error:  # what the decoders of so many formats raise at a damaged file is open
        raise MultiresError(f"{path}: no image that can be read ({error})".replace("\n", " ")) from None
    return [_from_pixels(picture, path) for picture in pictures]


def _from_pixels(picture: np.ndarray, path: Path) -> Tensor:
    if np.issubdtype(picture.dtype, np.integer) and not 0 <= picture.min() <= picture.max() <= 65535:
        raise MultiresError(f"{path}: integers beyond 16 bits have no known scale; save it with 8 or 16 bits")
    if picture.dtype == np.uint8:
        values = _scaled(picture)
    else:
        values = torch.from_numpy(picture.astype(np.float64)) / (65535 if np.issubdtype(picture.dtype, np.integer) else 1)
    return values[None, None] if values.ndim == 2 else values.permute(2, 0, 1)[None].contiguous()


def _from_folder(path: Path) -> Images:
    from PIL import Image

    known = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    try:
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as error:
        raise MultiresError(f"{path}: cannot be read ({error.strerror})") from None
    pictures = [file for file in files if file.suffix.lower() in known]
    if not pictures:
        raise MultiresError(f"{path}: no images in this folder, by the endings of its {len(files)} files; PNG and JPEG work")
    batches, count = _batches(pictures)
    passed_over = f"; {len(files) - len(pictures)} other files passed over" if len(files) > len(pictures) else ""
    return Images(str(path), f"{count:,} images from {path.name}{passed_over}", batches)
