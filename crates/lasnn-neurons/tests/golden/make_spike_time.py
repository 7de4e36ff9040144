"""Golden values by PyTorch's autograd: spike_time.json, spikes and gradients of LIF neurons whose
surrogate gradient follows from the time of their last spike.

Regenerate it, beside this script, with `python3 make_spike_time.py` (needs `torch`).

Neuron (`detach` passes no gradient), from the membrane potentials u^{-1}, with steps t from 0:
  reset subtract   u^t = leak u^{t-1} + I^t - v detach(o^{t-1})
  reset zero       u^t = leak u^{t-1} (1 - detach(o^{t-1})) + I^t
  o^t = 1 if u^t > v, else 0; its derivatives are do/du = s / v and do/dv = -s u / v^2, with the
  surrogate s = alpha exp(-beta (t - l)) and the step l < t of the last spike of the neuron before
  step t: l = -1 if u^{-1} > v, and l = -1000 if there is none
  step order integrate-then-fire sends o^t; fire-then-integrate sends o^{t-1}, where o^{-1} is a
  constant

spike_time.json: [case]. A case has name, time_steps, neuron (a `NeuronConfig`), leak [1],
  thresholds [1] or [C], membranes u^{-1} [C*P], currents, output_grad and spikes [T*B,C,P], and the
  gradients of sum(output_grad * spikes): currents_grad [T*B,C,P], leak_grad [1], thresholds_grad,
  membranes_grad [C*P].

Values are computed in f64. Currents, thresholds, leaks and initial potentials are binary fractions.
Every membrane potential is at least MARGIN away from its threshold, so that no spike depends on
rounding. An array is {"shape": [...], "data": [...]}, row-major, with 9 significant digits.
"""

import itertools
import json
from pathlib import Path

import torch

STEPS, BATCH, CHANNELS, POSITIONS = 9, 2, 2, 3
MARGIN = 1e-3


class Spike(torch.autograd.Function):
    """1 where u > v. Its derivative with respect to z = u/v - 1 is the surrogate."""

    @staticmethod
    def forward(context, u, v, since_spike, alpha, beta):
        context.save_for_backward(u, v, alpha * torch.exp(-beta * since_spike))
        return (u > v).to(u)

    @staticmethod
    def backward(context, grad):
        u, v, surrogate = context.saved_tensors
        slope = grad * surrogate
        return slope / v, -slope * u / v**2, None, None, None


def scan(currents, membranes, thresholds, leak, reset, step_order, alpha, beta):
    """Spikes [T,B,C,P] of currents, and the least distance of a potential from its threshold."""
    v = thresholds.reshape(-1, 1).expand(currents.shape[1:])
    u = membranes.expand(currents.shape[1:])
    fired = (u > v).to(u)
    last_spike = torch.full_like(u, -1000.0).masked_fill(fired.bool(), -1.0).detach()
    sent, margin = [], (u - v).abs().min().item()
    for step, current in enumerate(currents):
        before = fired
        if reset == "subtract":
            u = leak * u + current - v * before.detach()
        else:
            u = leak * u * (1 - before.detach()) + current
        fired = Spike.apply(u, v, step - last_spike, alpha, beta)
        last_spike = last_spike.masked_fill(fired.bool(), float(step))
        margin = min(margin, (u - v).abs().min().item())
        sent.append(fired if step_order == "integrate-then-fire" else before)
    return torch.stack(sent), margin


def array(tensor):
    data = [float(f"{number:.9g}") for number in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "data": data}


def case(reset, step_order, leak, per, alpha, beta, seed):
    """A case. None if a potential is too close to its threshold, or if all or few neurons fire."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape, mean, scale):
        """Multiples of 2^-8."""
        normal = torch.randn(shape, generator=generator, dtype=torch.float64)
        return ((mean + normal * scale) * 256).round() / 256

    shape = [STEPS, BATCH, CHANNELS, POSITIONS]
    currents = draw(shape, 0.2, 0.5).requires_grad_()
    membranes = draw(shape[2:], 0.4, 0.6).requires_grad_()
    thresholds = torch.tensor([0.75] if per == "layer" else [0.625, 1.125], dtype=torch.float64)
    thresholds.requires_grad_()
    leak = torch.tensor([leak], dtype=torch.float64, requires_grad=True)
    numbers = (membranes, thresholds, leak)
    spikes, margin = scan(currents, *numbers, reset, step_order, alpha, beta)
    has_fired = spikes.detach().amax(0)
    if margin < MARGIN or not 0.1 < spikes.mean().item() < 0.5 or has_fired.min() == 1:
        return None
    output_grad = draw(shape, 0, 1)
    (spikes * output_grad).sum().backward()
    if min(thresholds.grad.abs().min(), leak.grad.abs().min()) < 1e-3:
        return None

    def rows(tensor):
        return array(tensor.reshape(STEPS * BATCH, CHANNELS, POSITIONS))

    return {
        "name": f"{reset}, {step_order}, leak {leak.item()}, threshold of each {per}",
        "time_steps": STEPS,
        "neuron": {
            "kind": "lif",
            "leak": {"value": leak.item(), "train": True},
            "threshold": {"per": per, "train": True},
            "initial_membrane": {"value": 0.5, "per": "neuron", "train": True},
            "reset": reset,
            "step_order": step_order,
            "surrogate": {"kind": "spike-time", "alpha": alpha, "beta": beta},
        },
        "thresholds": array(thresholds),
        "membranes": array(membranes.reshape(-1)),
        "currents": rows(currents),
        "output_grad": rows(output_grad),
        "spikes": rows(spikes),
        "currents_grad": rows(currents.grad),
        "leak_grad": array(leak.grad),
        "thresholds_grad": array(thresholds.grad),
        "membranes_grad": array(membranes.grad.reshape(-1)),
    }


def main():
    cases = []
    options = itertools.product(
        ["subtract", "zero"],
        ["integrate-then-fire", "fire-then-integrate"],
        [(1.0, "layer", 0.3, 0.01), (0.875, "channel", 0.8, 0.02)],
    )
    for index, (reset, step_order, numbers) in enumerate(options):
        draws = (case(reset, step_order, *numbers, 1000 * index + again) for again in range(999))
        cases.append(next(filter(None, draws)))
    lines = ",\n".join(json.dumps(case) for case in cases)
    (Path(__file__).parent / "spike_time.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
