"""The mathematics of multi-resolution U-Nets on the domain [0, 1]^d.

`spaces` holds the function spaces V_j, `pooling` the projections between them, `haar` the change of basis, `data`
the images. Everything takes tensors of shape (batch, channel, *spatial) with d = 1, 2 or 3 spatial axes.

Source: "A Multi-Resolution Framework for U-Nets with Applications to Hierarchical VAEs", arXiv 2301.08187.
"""

from multires.errors import MultiresError

__all__ = ["MultiresError"]
