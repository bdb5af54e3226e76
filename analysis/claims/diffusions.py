"""Claims D2 to D4: the order, the moments and the stability of two-step forward Euler."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis import orders, schemes
from analysis.evidence import Check, Context, Control, Evidence, claim
from multires import exact, haar
from multires.diffusion import SDE, Scheme, Stage, integrate, two_step_euler

EQUAL = 1e-12
FLOOR = 1e-3


@dataclass(frozen=True)
class Case:
    """A process with a solution, and the orders that the scheme must have on it."""

    name: str
    process: orders.Solved
    start: Tensor
    horizon: float
    steps: tuple[int, ...]
    expected: dict[str, tuple[float, float]]
    """Order and how far off the whole interval may be, by kind of error."""


STRONG_MULTIPLICATIVE, ADDITIVE = {"strong": (0.5, 0.05)}, {"strong": (1.0, 0.1)}
SQUARE = {"weak, square": (1.0, 0.1)}
WEAK = {"weak, mean": (1.0, 0.1)} | SQUARE


def _cases() -> list[Case]:
    """Strong order is asked of strong noise; weak order of weak noise, whose error its mean does not drown in."""

    def at(value: float, *shape: int) -> Tensor:
        return torch.full(shape, value, dtype=torch.float64)

    fine, steps, coarse = (tuple(2**k for k in range(first, first + 7)) for first in (5, 4, 3))
    multiplicative = exact.GeometricBrownianMotion
    return [
        Case("geometric", multiplicative(-0.5, -0.5, 1.0), at(1, 16000, 1, 1), 1.0, fine, STRONG_MULTIPLICATIVE),
        Case("geometric, small noise", multiplicative(-1.0, -1.0, 0.2), at(1, 8000, 1, 1), 1.0, steps, WEAK),
        Case("Ornstein-Uhlenbeck", exact.OrnsteinUhlenbeck(1.0, 0.5), at(2, 8000, 1, 1), 1.0, steps, ADDITIVE | WEAK),
        Case("bridge", exact.BrownianBridge(1.0, 1.0, share=0.3), at(0, 8000, 1, 1), 0.75, steps, ADDITIVE | WEAK),
        Case("Haar diffusion in V_2", exact.HaarDiffusion(0.5, 0.3), at(2, 2000, 1, 4), 0.5, coarse, ADDITIVE | SQUARE),
    ]


INCONSISTENT: dict[str, Scheme] = {
    "noise by h": schemes.noise_by_h,
    "drift m1 + 2 m2": schemes.second_drift_twice,
}


@claim(
    "D2",
    "Two-step forward Euler converges: strong order 1/2 with multiplicative noise, 1 with additive, weak order 1.",
    formula=r"(\mathbb{E}\|\hat Z^h_T - Z_T\|^2)^{1/2} = O(h^p),\ p = \tfrac12, 1,\qquad "
    r"|\mathbb{E}\varphi(\hat Z^h_T) - \mathbb{E}\varphi(Z_T)| = O(h)",
    kind="convergence",
    control="noise scaled by h instead of its root; the drift m1 + 2 m2",
    functions=["multires.diffusion.two_step_euler", "multires.diffusion.integrate", "multires.exact.GeometricBrownianMotion"],
)
def d2(context: Context) -> Evidence:
    """Fit the orders over seven step sizes on the same noise; the bound holds for the whole 95 % interval of each slope."""
    checks, controls = [], []
    arrays: dict[str, np.ndarray] = {}
    for number, case in enumerate(_cases()):
        generator = torch.Generator().manual_seed(1000 * context.seed + number)
        wrong = INCONSISTENT if number in (0, 2) else {}
        tried = {"two-step": two_step_euler, **wrong}
        found = orders.measure(case.process, case.start, case.horizon, list(case.steps), tried, generator)
        for kind, (order, band) in case.expected.items():
            slope = found["two-step", kind].slope()
            checks.append(Check(f"{case.name}: |{kind} order - {order}|, whole interval", slope.off(order), band))
            key = f"{number} {kind}"
            arrays |= {f"{key}: h": found["two-step", kind].h, f"{key}: error": found["two-step", kind].values}
            arrays[f"{key}: slope"] = np.array([slope.value, slope.low, slope.high])
            for name in wrong:
                if kind == "weak, mean" and name == "noise by h":
                    continue  # the mean does not see the noise
                values = found[name, kind]
                # all of the interval has to be outside, not only its middle
                nearest = min(abs(values.slope().low - order), abs(values.slope().high - order))
                controls.append(Control(f"{case.name}: |{kind} order - {order}|: {name}", nearest, band))
                arrays[f"{key}: {name}"] = values.values
    arrays["names"] = np.array([case.name for case in _cases()])
    return Evidence(checks, controls, arrays, "95 % intervals over 20 groups of paths, the same noise for all step sizes")


def _law_after(scheme: Scheme, process: exact.OrnsteinUhlenbeck, h: float, steps: int) -> tuple[float, float]:
    """Exactly: the factor of the mean after one step, and the variance after many, from a point mass.

    The scheme is linear in its noise, so the variance is the sum of squares of what a unit of noise in each step comes to.
    """
    sde, stage = process.sde(), Stage(0, steps, h)
    units = torch.eye(steps, dtype=torch.float64)[:, :, None, None, None].expand(-1, -1, 1, 1, 1)
    increments = [units[k].transpose(0, 1).reshape(steps, 1, 1) * math.sqrt(h) for k in range(steps)]
    *_, (_, state) = integrate(sde, torch.zeros(steps, 1, 1, dtype=torch.float64), [stage], increments, scheme=scheme)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    ((_, moved),) = integrate(sde, one, [Stage(0, 1, h)], [0 * one], scheme=scheme)
    return float(moved), float(state.square().sum())


D3_GRID = ((0.5, 0.5, 1.0), (1.0, 0.25, 2.0), (0.2, 1.7, 0.5))  # (a, b, s)
D3_STEPS = (0.9, 0.5, 0.1)
SMALL = 2.0**-20


@claim(
    "D3",
    "On an Ornstein-Uhlenbeck process two-step Euler has a closed form: mean factor (1-ah)(1-bh), and its stationary variance.",
    formula=r"\mathbb{E} Z' = (1-ah)(1-bh)\,\mathbb{E} Z,\qquad "
    r"v_h = \frac{(1-bh)^2 s^2 h}{1 - (1-ah)^2(1-bh)^2} \to \frac{s^2}{2(a+b)}",
    kind="exact",
    control="the two steps swapped (variance); the second drift at the old state (mean factor); one-step Euler",
    functions=["multires.exact.OrnsteinUhlenbeck", "multires.diffusion.two_step_euler"],
)
def d3(context: Context) -> Evidence:
    """Propagate a unit of mean and of each step's noise through the integrator; compare with the closed form, then its limit."""
    del context  # the law is exact: no number is drawn
    checks, controls = [], []
    for a, b, s in D3_GRID:
        process = exact.OrnsteinUhlenbeck(a, b, s)
        for h in D3_STEPS:
            where = f"a = {a}, b = {b}, h = {h}"
            # after so many steps nothing is left, in float64, of the first
            steps = min(2000, math.ceil(9 * math.log(10) / -math.log(abs(process.mean_factor(h)))) + 2)
            mean, variance = _law_after(two_step_euler, process, h, steps)
            truth = process.mean_factor(h), process.stationary_variance(h)
            checks.append(Check(f"mean factor, {where}", abs(mean - truth[0]) / abs(truth[0]), EQUAL))
            checks.append(Check(f"stationary variance, {where}", abs(variance / truth[1] - 1), EQUAL))
            mean, _ = _law_after(schemes.at_old_state, process, h, 1)
            controls.append(Control(f"mean factor, {where}: second drift at the old state", abs(mean / truth[0] - 1), FLOOR))
            _, variance = _law_after(schemes.swapped, process, h, steps)
            controls.append(Control(f"stationary variance, {where}: steps swapped", abs(variance / truth[1] - 1), FLOOR))
        limit = s**2 / (2 * (a + b))
        misses = [abs(process.stationary_variance(h) / limit - 1) for h in (SMALL, SMALL / 2)]
        checks.append(
            Check(f"limit of the variance, a = {a}, b = {b}: |order - 1|", abs(math.log2(misses[0] / misses[1]) - 1), 1e-3)
        )
        controls.append(
            Control(
                f"limit of the variance, a = {a}, b = {b}: drift m1 + 2 m2",
                abs(exact.OrnsteinUhlenbeck(a, 2 * b, s).stationary_variance(SMALL) / limit - 1),
                FLOOR,
            )
        )
    checks += _on_haar_functions()
    return Evidence(checks, controls)


def _on_haar_functions() -> list[Check]:
    """A Haar diffusion is such a process along every Haar function: all of V_3, d = 1, and V_2, d = 2, in one step each."""
    checks = []
    process, h = exact.HaarDiffusion(0.5, share=0.3), 0.01
    for d, j in ((1, 3), (2, 2)):
        cells = 2 ** (j * d)
        flat = torch.eye(cells, dtype=torch.float64).reshape(cells, 1, *[2**j] * d)
        functions = haar.synthesis(haar.from_array(flat), normalization="l2")  # each row one Haar function, of norm 1
        rates = torch.linalg.vector_norm(process.apply(functions).flatten(1), dim=1) / math.sqrt(cells)
        zero = torch.zeros_like(functions)
        for what, start, noise, law in (
            ("mean factor", functions, zero, (1 - 0.3 * rates * h) * (1 - 0.7 * rates * h)),
            ("noise", zero, functions, 1 - 0.7 * rates * h),
        ):
            ((_, after),) = integrate(process.sde(), start, [Stage(j, 1, h)], [noise])
            off = after - law.reshape(-1, *[1] * (d + 1)) * functions
            checks.append(Check(f"{what} of every Haar function, d = {d}", float(off.abs().max() / functions.abs().max()), EQUAL))
    return checks


RATIOS = (1.0, 1.5, 2.0, 4.0, 6.0, 8.0, 16.0)  # b / a
RATES = (0.5, 1.0, 5.0)  # a
ITERATIONS = 4000
GONE = 1e-6


def _grown(scheme: Scheme, a: Tensor, b: Tensor, h: Tensor, steps: int = ITERATIONS) -> Tensor:
    """|Z_n / Z_0| without noise, for processes with drifts -a Z and -b Z and steps h, one a cell: all of shape (count,)."""
    sde = SDE(lambda t, z: -a * h * z, lambda t, z: -b * h * z, lambda t, z, dw: dw)  # in units of h
    start = torch.ones(1, 1, len(a), dtype=torch.float64)
    stage, nothing = Stage(0, steps, 1.0), [torch.zeros_like(start)] * steps
    for _, state in integrate(sde, start, [stage], nothing, scheme=scheme, enter=lambda z, to: z):  # noqa: B007
        pass
    return state[0, 0].abs()


def _measured_edge(scheme: Scheme, a: Tensor, b: Tensor) -> Tensor:
    """The step at which growth begins, by bisection on the integrator."""
    low, high = 0.01 / (a + b), 6 / (a + b)
    for _ in range(50):
        middle = (low + high) / 2
        stable = _grown(scheme, a, b, middle, 40) < 1
        low, high = torch.where(stable, middle, low), torch.where(stable, high, middle)
    return low


@claim(
    "D4",
    "Two-step Euler is stable while |(1-ah)(1-bh)| < 1: with a = b up to (a+b)h = 4, twice the range of one-step Euler.",
    formula=r"|(1-ah)(1-bh)| < 1;\qquad a = b:\ (a+b)h < 4,\ \text{one-step: } (a+b)h < 2",
    kind="exact",
    control="one-step Euler at the same steps, which diverges where a = b; a step past the edge where one before it is asked for",
    functions=["multires.diffusion.two_step_euler", "multires.exact.OrnsteinUhlenbeck"],
)
def d4(context: Context) -> Evidence:
    """Iterate on both sides of the edge, over a grid of drifts; find the edge itself by bisection where a = b."""
    del context
    pairs = [(a, a * ratio) for a in RATES for ratio in RATIOS]
    a, b = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    edge = torch.tensor([exact.OrnsteinUhlenbeck(*pair).edge() for pair in pairs], dtype=torch.float64)
    below, above = (_grown(two_step_euler, a, b, share * edge) for share in (0.99, 1.01))
    one = _grown(schemes.one_step_euler, a, b, 0.99 * edge, 200)  # any more would overflow
    two_step, one_step = (_measured_edge(scheme, a, b) for scheme in (two_step_euler, schemes.one_step_euler))
    checks, controls = [], []
    for k, pair in enumerate(pairs):
        before, after, where = "|Z_n / Z_0| at 0.99 of the edge", "|Z_0 / Z_n| at 1.01 of the edge", "a = {}, b = {}".format(*pair)
        checks += [Check(f"{before}, {where}", float(below[k]), GONE), Check(f"{after}, {where}", float(1 / above[k]), GONE)]
        controls.append(Control(f"{before}, {where}: a step past the edge", float(above[k]), GONE))
        if pair[0] == pair[1]:
            total = float(a[k] + b[k])
            controls.append(Control(f"{before}, {where}: one-step Euler", float(one[k]), GONE))
            for what, value, wrong in (
                ("(a + b) h at the measured edge, / 4", total * float(two_step[k]) / 4, total * float(one_step[k]) / 4),
                (
                    "stable range, two-step / one-step, / 2",
                    float(two_step[k] / one_step[k]) / 2,
                    float(one_step[k] / one_step[k]) / 2,
                ),
            ):
                checks.append(Check(f"|{what}, - 1|, {where}", abs(value - 1), 1e-9))
                controls.append(Control(f"|{what}, - 1|, {where}: one-step Euler", abs(wrong - 1), FLOOR))
    return Evidence(checks, controls, _regions())


def _regions() -> dict[str, np.ndarray]:
    """|Z' / Z| of both schemes over (ah, bh), by one step each."""
    at = np.linspace(0.02, 5, 125)
    grid = {"ah": at}
    a, b = torch.meshgrid(torch.from_numpy(at), torch.from_numpy(at), indexing="xy")
    for name, scheme in (("two-step", two_step_euler), ("one-step", schemes.one_step_euler)):
        sde = SDE(lambda t, z: -a * z, lambda t, z: -b * z, lambda t, z, dw: dw)
        one = torch.ones(1, 1, *a.shape, dtype=torch.float64)
        grid[name] = scheme(sde, 0.0, one, 1.0, torch.zeros_like(one)).abs()[0, 0].numpy()
    return grid
