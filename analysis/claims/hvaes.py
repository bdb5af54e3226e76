"""Claims D5 and D6: the trained HVAE as two-step forward Euler, and the stiffness of a diffusion that starts at a point."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from analysis import gains, reference, schemes
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.measure import FLOOR, dtype_name, worst
from analysis.replay import Replay
from multires import exact
from multires.diffusion import SDE, Scheme, Stage, integrate, two_step_euler
from multires.hvae import HVAE

IMAGES = 16
REPLAY_BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-5}


def _apart(states: list[Tensor], others: list[Tensor]) -> np.ndarray:
    """The relative L2 distance of each state, at its worst over images."""

    def size(x: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(x.double().flatten(1), dim=1)
        return norms

    return np.array([float((size(b.double() - a.double()) / size(a)).max()) for a, b in zip(states, others, strict=True)])


@torch.no_grad()
def _replayed(hvae: HVAE, images: Tensor, noise: list[Tensor], infer: bool, scheme: Scheme) -> tuple[np.ndarray, float]:
    """How far the replay's states are from the HVAE's own, step by step, and the log likelihood it gives: at worst, relative."""
    activations = hvae.encode(images) if infer else None
    steps = list(hvae.integrate(len(images), activations, noise=noise))
    replay = Replay(hvae, activations)
    states = replay.states(noise, scheme)
    own = -hvae.nll(images, steps[-1].state)
    if infer:
        own = own - torch.stack([step.kl() for step in steps]).sum(0)
    found = replay.elbo(images, states) if infer else -hvae.nll(images, states[-1])
    return _apart([step.state for step in steps], states), worst(((found - own).abs() / own.abs()).tolist())


@claim(
    "D5",
    "A cell of a trained HVAE is a step of two-step forward Euler: an integrator that knows (m1, s, m2) and the"
    " function that each resolution starts from retraces its states.",
    formula=r"m_1 h = \delta + A\mu + c,\quad s\,dW = A\,\sigma\,\epsilon,\quad m_2 h = r:\qquad \hat Z_k = Z_k\ \text{for all } k",
    kind="exact",
    control="the two steps swapped; the second drift at the state before the first step",
    functions=["multires.hvae.HVAE", "multires.cells.Cell", "multires.diffusion.integrate"],
)
def d5(context: Context) -> Evidence:
    """Replay generation and inference of the shipped HVAE, in both precisions, on the same noise."""
    name, net, _, images = reference.reference()
    checks, controls = [], []
    arrays: dict[str, np.ndarray] = {}
    for dtype, bound in REPLAY_BOUNDS.items():
        hvae = copy.deepcopy(net).to(dtype)
        x, noise = images[:IMAGES].to(dtype), reference.noises(hvae, min(IMAGES, len(images)), context.seed, dtype)
        for what, infer in (("generation", False), ("inference", True)):
            apart, likelihood = _replayed(hvae, x, noise, infer, two_step_euler)
            checks.append(Check(f"every state, {what}", worst(apart), bound, dtype_name(dtype)))
            checks.append(Check(f"log likelihood, {what}", likelihood, bound, dtype_name(dtype)))
            arrays[f"{what} {dtype_name(dtype)}"] = apart
            if dtype == torch.float64:
                for label, scheme in (("steps swapped", schemes.swapped), ("second drift at the old state", schemes.at_old_state)):
                    apart, likelihood = _replayed(hvae, x, noise, infer, scheme)
                    controls.append(Control(f"every state, {what}: {label}", worst(apart), FLOOR))
                    controls.append(Control(f"log likelihood, {what}: {label}", likelihood, FLOOR))
                    arrays[f"{what} {label}"] = apart
    return Evidence(checks, controls, arrays, f"{name}, {net.config.steps} steps, {len(x)} images and samples")


@dataclass(frozen=True)
class FromAPoint:
    """A process begun at x0: its drift, its diffusion and the log density of its state at time t, cell by cell."""

    name: str
    drift: Callable[[Tensor], Tensor]
    diffusion: Callable[[Tensor], Tensor]
    log_density: Callable[[float, Tensor], Tensor]

    def reverse_drift(self, t: float, z: Tensor) -> Tensor:
        r"""$-m + \nabla (s^2 p) / p$, backwards in time, by automatic differentiation: Anderson (1982), for noise in each cell."""

        with torch.enable_grad():
            x = z if z.requires_grad else z.detach().requires_grad_()
            # log(s^2 p) has the gradient (s^2 p)' / (s^2 p)
            weighted = (self.log_density(t, x) + 2 * self.diffusion(x).abs().log()).sum()
            (gradient,) = torch.autograd.grad(weighted, x, create_graph=z.requires_grad)
        return -self.drift(z) + self.diffusion(z).square() * gradient


X0, SPREAD = 1.0, 1.0


def _normal(mean: float, variance: float) -> Normal:
    return Normal(*torch.tensor([mean, math.sqrt(variance)], dtype=torch.float64))


def _processes() -> list[FromAPoint]:
    ornstein, geometric, wiener = exact.OrnsteinUhlenbeck(0.7, 0.4, 1.3), exact.GeometricBrownianMotion(0.3, 0.2, 0.8), 1.0
    rate, drift = ornstein.a + ornstein.b, geometric.a + geometric.b - geometric.s**2 / 2
    return [
        FromAPoint(
            "Brownian motion",
            torch.zeros_like,
            lambda z: torch.full_like(z, wiener),
            lambda t, z: _normal(X0, t).log_prob(z),
        ),
        FromAPoint(
            "Ornstein-Uhlenbeck",
            lambda z: -rate * z,
            lambda z: torch.full_like(z, ornstein.s),
            lambda t, z: _normal(X0 * math.exp(-rate * t), ornstein.variance(t)).log_prob(z),
        ),
        FromAPoint(
            "geometric",
            lambda z: (geometric.a + geometric.b) * z,
            lambda z: geometric.s * z,
            lambda t, z: _normal(math.log(X0) + drift * t, geometric.s**2 * t).log_prob(z.log()) - z.log(),
        ),
    ]


def _from_a_spread() -> FromAPoint:
    """The control: Brownian motion whose start is normal, of variance SPREAD."""
    return FromAPoint(
        "Brownian motion from a spread",
        torch.zeros_like,
        torch.ones_like,
        lambda t, z: _normal(X0, SPREAD + t).log_prob(z),
    )


TIMES = 2.0 ** -np.arange(14, 25)  # small: the law is of leading order
SAMPLES, NEAR = 8, 64  # states of HVAEs; cells about x0 at which the drift of a process is looked at
SLOPE = 0.02
ONCE = 1  # power iterations: a Jacobian of one entry is its own singular value


def _lipschitz(process: FromAPoint, context: Context) -> np.ndarray:
    """The largest singular value of the reverse drift's Jacobian at each time, over states that the process visits."""
    generator = torch.Generator().manual_seed(context.seed)
    found = []
    for t in TIMES:
        z = X0 + math.sqrt(t) * torch.randn(NEAR, 1, generator=generator, dtype=torch.float64).clamp(-3, 3)
        size = gains.largest_singular_value(lambda x, t=float(t): process.reverse_drift(t, x), z, generator, ONCE)  # type: ignore[misc]
        found.append(float(size.max()))
    return np.array(found)


STEPS = 1500  # after which 0.98 and 1 / 1.02 to that power are nothing


def _grown(process: FromAPoint, t: float, share: float) -> float:
    """By what STEPS of forward Euler multiply a small distance from their fixed point, along the reverse drift held at time t.

    The steps have this share of the length 2 t; the fixed point is what short steps lead to.
    """
    sde = SDE(lambda _, z: process.reverse_drift(t, z), lambda _, z: torch.zeros_like(z), lambda _, z, dw: dw)

    def steps(z: Tensor, count: int, h: float) -> Tensor:
        *_, (_, last) = integrate(sde, z, [Stage(0, count, h)], [torch.zeros_like(z)] * count)
        return last

    start = torch.full((1, 1, 1), X0 + 1e-2 * math.sqrt(t), dtype=torch.float64)
    fixed = steps(start, 200, 0.5 * t)
    factor = gains.largest_singular_value(lambda z: steps(z, 1, share * 2 * t), fixed, torch.Generator(), ONCE)
    return float(factor) ** STEPS


@claim(
    "D6",
    "From a point mass the drift backwards in time has Lipschitz constant 1/t as t falls to 0, so forward Euler along it needs"
    " steps h < 2t.",
    formula=r"\operatorname{Lip}\bigl(-(z - x_0)/t + O(1)\bigr) \sim 1/t,\qquad h < 2t",
    kind="convergence",
    control="a start that is spread out: the drift stays bounded, and steps of 2t are nowhere near an edge",
    functions=["multires.diffusion.integrate", "multires.exact.OrnsteinUhlenbeck", "multires.hvae.HVAE"],
)
def d6(context: Context) -> Evidence:
    """Fit the slope for three processes with known densities, try both sides of the edge; then the gain of HVAE cells, as it is."""
    checks, arrays = [], {"t": TIMES}
    processes, spread = _processes(), _from_a_spread()
    edge = float(TIMES[-1])
    for process in processes:
        sizes = _lipschitz(process, context)
        slope = float(np.polyfit(np.log(TIMES), np.log(sizes), 1)[0])
        checks.append(Check(f"|slope + 1|, {process.name}", abs(slope + 1), SLOPE))
        checks.append(Check(f"|t Lip - 1| at the smallest t, {process.name}", float(abs(edge * sizes[-1] - 1)), SLOPE))
        checks.append(Check(f"distance kept, h = 0.99 (2t), {process.name}", _grown(process, edge, 0.99), 1e-6))
        checks.append(Check(f"distance lost, h = 1.01 (2t), {process.name}", 1 / _grown(process, edge, 1.01), 1e-6))
        arrays[f"process {process.name}"] = sizes
    sizes = _lipschitz(spread, context)
    arrays["spread"] = sizes
    slope = float(np.polyfit(np.log(TIMES), np.log(sizes), 1)[0])
    controls = [
        Control("|slope + 1|: a spread start", abs(slope + 1), SLOPE),
        Control("|t Lip - 1| at the smallest t: a spread start", float(abs(edge * sizes[-1] - 1)), SLOPE),
        Control("distance kept, h = 0.99 (2t): a step past the edge", _grown(processes[0], edge, 1.01), 1e-6),
        Control("distance lost, h = 1.01 (2t): a spread start", 1 / _grown(spread, edge, 1.01), 1e-6),
    ]
    found, note = _hvae(context)
    return Evidence(checks, controls, arrays | found, note)


def _hvae(context: Context) -> tuple[dict[str, np.ndarray], str]:
    """Gain and gradient of each cell against its time, trained and untrained: shown, and held against -1, in words."""
    name, net, run, images = reference.reference()
    steps = np.arange(1, net.config.steps + 1) / net.config.steps
    arrays, said = {"hvae_t": steps}, []
    sides = [run.model.resolutions[moment.resolution].size for moment in net.timetable]
    for label, hvae in (("trained", net), ("untrained", reference.untrained(run))):
        generator = torch.Generator().manual_seed(context.seed)
        gain = gains.cell_gains(hvae, SAMPLES, generator)
        gradient = gains.state_gradients(hvae, images[:SAMPLES], generator)
        slope = gains.power(steps.tolist(), gain)
        verdict = "as 1/t" if slope.low <= -1 <= slope.high else "not as 1/t"
        said.append(f"{label} t^{slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f}), {verdict}")
        arrays |= {f"gain {label}": gain.numpy(), f"gradient {label}": gradient.numpy()}
        arrays[f"slope {label}"] = np.array([slope.value, slope.low, slope.high])
    arrays["sides"] = np.array(sides)
    return arrays, f"{name}: the gain of its cells goes " + "; ".join(
        said
    ) + f"; 95 % over {SAMPLES} samples. No part of the verdict"
