r"""U-Nets over the spaces $V_J \supset V_{J-1} \supset \dots$, with a chosen pooling, and their closed-form twins.

A U-Net with n levels maps a function of $V_J$ to another. On the way down, at each resolution j, blocks $E_j$ make the
*activation* $a_j$, and pooling takes it to $V_{j-1}$; on the way up the state is embedded in $V_j$, joined by the skip and
passed through blocks $D_j$:
$$ a_J = E_J\, x,\quad a_{j-1} = E_{j-1}(\mathrm{pool}\, a_j),\qquad
u_{J-n} = a_{J-n},\quad u_j = D_j(\mathrm{embed}\, u_{j-1}, a_j). $$
Module names say where an activation is: `pools.l` leads from level l to level l + 1, `skips.l` passes $a$ at level l across,
`encoder.l` and `decoder.l` are the blocks at level l, where level l is the resolution J - l.

Source: arXiv 2301.08187, section 2 (U-Nets), theorem 1 and its corollaries (average pooling).
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from multires import memory
from multires.configs import UNetConfig
from multires.errors import MultiresError
from multires.pooling import average, blur, lowpass, maximum, orthogonal, subsample, synthesis
from multires.spaces import embed, require_levels

Pooling = Callable[[Tensor], Tensor]
FIXED: dict[str, Pooling] = {"average": average, "max": maximum, "subsample": subsample, "blur": blur}
POOLINGS = (*FIXED, "strided")
CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PADDINGS: dict[str, Literal["circular", "zeros"]] = {"periodic": "circular", "zeros": "zeros"}


class Pool(nn.Module):
    """One of the fixed poolings as a module, so that it has a name and hooks."""

    def __init__(self, pooling: str | tuple[float, ...]) -> None:
        super().__init__()
        if isinstance(pooling, str) and pooling not in FIXED:
            raise MultiresError(f"pooling {pooling!r}: known are {', '.join(POOLINGS)}; or give the taps of a low-pass filter")
        self.pooling = FIXED[pooling] if isinstance(pooling, str) else partial(lowpass, taps=pooling)

    def forward(self, x: Tensor) -> Tensor:
        """Halve every side of x."""
        return self.pooling(x)


class Block(nn.Module):
    r"""A residual block, $x + W_2\, \sigma(W_1\, \sigma(x))$ with convolutions $W$ of width 3 and $\sigma$ = SiLU.

    $W_2$ starts at zero, so that each block starts as the identity.
    """

    def __init__(self, width: int, dimension: int, padding: str) -> None:
        super().__init__()
        convolution = partial(CONVOLUTIONS[dimension], width, width, 3, padding=1, padding_mode=PADDINGS[padding])
        self.body = nn.Sequential(nn.SiLU(), convolution(), nn.SiLU(), convolution())
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    @property
    def last(self) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
        """W_2."""
        last = self.body[3]
        assert isinstance(last, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        return last

    def forward(self, x: Tensor) -> Tensor:
        """Return x and its residual; the shape stays."""
        y: Tensor = x + self.body(x)
        return y


def require_room(config: UNetConfig, copies: int = 1) -> None:
    """Raise MultiresError where so many copies of the weights of all blocks and both ends do not fit this machine."""
    kernel, places = 3**config.dimension, (*config.widths, *config.widths[:-1])  # the encoder's and the decoder's
    weights = 2 * config.channels * config.widths[0] * kernel
    weights += sum(2 * config.blocks * max(width**2 * kernel, memory.OBJECTS) for width in places)
    memory.require(f"channels = {config.channels}, widths = {config.widths}, blocks = {config.blocks}", copies * weights)


class UNet(nn.Module):
    """The U-Net of this module's opening, from (batch, channels, *spatial) to the same shape.

    2^levels must divide every side; MultiresError names the nearest size that works.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, d = config.widths, config.dimension
        convolution = partial(CONVOLUTIONS[d], kernel_size=3, padding=1, padding_mode=PADDINGS[config.padding])

        def blocks(width: int) -> nn.Module:
            return nn.Sequential(*(Block(width, d, config.padding) for _ in range(config.blocks)))

        def pool(width: int) -> nn.Module:
            return convolution(width, width, stride=2) if config.pooling == "strided" else Pool(config.pooling)

        def mix(here: int, there: int) -> nn.Module:
            return nn.Identity() if here == there else CONVOLUTIONS[d](here, there, 1)

        pairs = list(itertools.pairwise(widths))
        self.stem = convolution(config.channels, widths[0])
        self.encoder = nn.ModuleList(blocks(width) for width in widths)
        self.pools = nn.ModuleList(pool(width) for width in widths[:-1])
        self.widen = nn.ModuleList(mix(fine, coarse) for fine, coarse in pairs)
        self.narrow = nn.ModuleList(mix(coarse, fine) for fine, coarse in pairs)
        taps = config.pooling
        self.upsample: Pooling = embed
        if config.upsampling == "synthesis":
            if isinstance(taps, str) or not orthogonal(taps):
                raise MultiresError("upsampling = 'synthesis': pooling has to be the filter of an orthogonal wavelet, such as db2")
            self.upsample = partial(synthesis, taps=taps)
        self.skips = nn.ModuleList(nn.Identity() for _ in pairs)
        join = config.skips == "concatenate"
        self.join = nn.ModuleList(mix(2 * fine, fine) if join else nn.Identity() for fine in widths[:-1])
        self.decoder = nn.ModuleList(blocks(width) for width in widths[:-1])
        self.head = convolution(widths[0], config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, of x's shape."""
        d = require_levels(x, self.config.levels)
        if d != self.config.dimension or x.shape[1] != self.config.channels:
            raise MultiresError(
                f"input of shape {tuple(x.shape)}: this U-Net takes {self.config.channels} channels"
                f" and {self.config.dimension} spatial axes"
            )
        state, activations = self.stem(x), []
        for level in range(self.config.levels):
            state = self.encoder[level](state)
            activations.append(state)
            state = self.widen[level](self.pools[level](state))
        state = self.encoder[-1](state)
        for level in reversed(range(self.config.levels)):
            state = self.upsample(self.narrow[level](state))
            if self.config.skips != "none":
                skip = self.skips[level](activations[level])
                state = self.join[level](torch.cat([state, skip], 1)) if self.config.skips == "concatenate" else state + skip
            state = self.decoder[level](state)
        y: Tensor = self.head(state)
        return y


class HaarUNet(nn.Module):
    r"""The U-Net that *is* the Haar transform: identity blocks, and $x - \mathrm{embed}(\mathrm{pool}\, x)$ on the skips.

    With average pooling the pooled activation at level l is PyWavelets' approximation over $2^{ld/2}$, the skip at level l is
    the function that the details of level l + 1 span, and the decoder, which adds them, returns the input.
    Source: arXiv 2301.08187, section 2 (a U-Net with identity maps is the wavelet transform).
    """

    def __init__(self, levels: int, pooling: Pooling = average) -> None:
        super().__init__()
        self.levels, self.pooling = levels, pooling
        self.pools = nn.ModuleList(nn.Identity() for _ in range(levels))
        self.skips = nn.ModuleList(nn.Identity() for _ in range(levels))

    def forward(self, x: Tensor) -> Tensor:
        """Analyse x level by level, then synthesise it; shape (batch, channel, *spatial) stays."""
        require_levels(x, self.levels)
        skips = []
        for level in range(self.levels):
            coarse = self.pools[level](self.pooling(x))
            skips.append(self.skips[level](x - embed(coarse)))
            x = coarse
        for skip in reversed(skips):
            x = embed(x) + skip
        return x


class LinearUNet(nn.Module):
    r"""A U-Net with linear blocks on a grid of $2^j$ cells a side, and an output at every resolution.

    Going down, a dense map multiplies the channels by $2^d$ before average pooling, so that pooling loses nothing; going up,
    a dense map $D_j$ of the skip joins the embedded output of the resolution below: $y_j = \mathrm{embed}\, y_{j-1} + D_j a_j$.
    Trained on $\sum_j \|y_j - P_j w\|^2$ each $y_j$ can become any linear map into $V_j$, and has to find the best one.
    """

    def __init__(self, resolution: int, dimension: int) -> None:
        super().__init__()
        self.resolution, self.dimension = resolution, dimension
        cells, children = 2 ** (resolution * dimension), 2**dimension
        self.down = nn.ModuleList(nn.Linear(cells, children * cells, bias=False) for _ in range(resolution))
        self.up = nn.ModuleList(nn.Linear(cells, 2 ** (j * dimension), bias=False) for j in range(resolution + 1))
        for level, weight in enumerate(self.down.parameters(), start=1):
            # orthogonal once pooled, as deep linear networks want it (arXiv 1312.6120): siblings start with equal values
            pooled = nn.init.orthogonal_(torch.empty(cells, cells)).unflatten(1, (-1, *[2 ** (resolution - level)] * dimension))
            weight.data.copy_(embed(pooled).flatten(1).T)
        for weight in self.up.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map x of shape (batch, 1, n, ...) to the outputs of shape (batch, 1, 2^j, ...) for j = 0, ..., resolution."""
        d, activations = self.dimension, [x]
        for level, down in enumerate(self.down, start=1):
            wide = down(activations[-1].flatten(1)).unflatten(1, (-1, *[2 ** (self.resolution - level + 1)] * d))
            activations.append(average(wide))
        outputs: list[Tensor] = []
        for j, (up, activation) in enumerate(zip(self.up, reversed(activations), strict=True)):
            detail = up(activation.flatten(1)).unflatten(1, (1, *[2**j] * d))
            outputs.append(embed(outputs[-1]) + detail if outputs else detail)
        return outputs
