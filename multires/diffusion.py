r"""Steps of multi-resolution diffusions: the forward Euler schemes that hierarchical VAEs are made of.

A state $Z$ of $V_j$ with several channels follows $dZ = (m_1 + m_2)\,dt + s\,dW$. One step of *two-step* forward Euler takes
the first drift and the noise together, then the second drift at the state so reached:
$$ Z^+ = Z + m_1(Z)\,h + s(Z)\,dW, \qquad Z' = Z^+ + m_2(Z^+)\,h. $$

Source: arXiv 2301.08187, section 3 (multi-resolution diffusions and their discretisation).
"""

from torch import Tensor


def euler(state: Tensor, drift: Tensor, h: float) -> Tensor:
    r"""$Z + m h$: one step of forward Euler along the drift m at the state; all of one shape."""
    return state.add(drift, alpha=h)


def euler_maruyama(state: Tensor, drift: Tensor, noise: Tensor, h: float) -> Tensor:
    r"""$Z + m h + s\,dW$: one step of Euler-Maruyama, with noise = $s(Z)\,dW$ for an increment dW of variance h."""
    return state.add(drift, alpha=h).add_(noise)
