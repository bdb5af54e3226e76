"""The mathematics of multi-resolution U-Nets on the domain [0, 1]^d.

`spaces` holds the function spaces V_j, `pooling` the projections between them, `haar` the change of basis, `data` the images,
`unet` the U-Nets and their closed-form twins, `diffusion` the steps that `hvae` is made of, `exact` diffusions with solutions,
`vdvae` the published HVAE, `training` the loop that trains all of them, `pretrained` the weights that ship.
Everything takes tensors of shape (batch, channel, *spatial) with d = 1, 2 or 3 spatial axes.

Source: "A Multi-Resolution Framework for U-Nets with Applications to Hierarchical VAEs", arXiv 2301.08187.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from multires.errors import MultiresError

if TYPE_CHECKING:
    from multires import brownian, data, diffusion, exact, haar, hvae, pooling, pretrained, spaces, training, unet, vdvae

__all__ = [
    "MultiresError",
    "brownian",
    "data",
    "diffusion",
    "exact",
    "haar",
    "hvae",
    "pooling",
    "pretrained",
    "spaces",
    "training",
    "unet",
    "vdvae",
]


def __getattr__(name: str) -> ModuleType:
    """Import a submodule when it is first used: the command shows its help without waiting for torch."""
    if name in __all__:
        return importlib.import_module(f"multires.{name}")
    raise AttributeError(f"module 'multires' has no attribute {name!r}")
