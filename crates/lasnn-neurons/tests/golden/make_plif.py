"""Golden values by PyTorch's autograd: plif.json, spikes and gradients of parametric LIF neurons.

Regenerate it, beside this script, with `python3 make_plif.py` (needs `torch`).

Neuron (`detach` passes no gradient), from rest, with a leak for the whole layer:
  leak = sigmoid(w)
  reset subtract   u^t = leak u^{t-1} + I^t - v detach(o^{t-1})
  reset zero       u^t = leak u^{t-1} (1 - detach(o^{t-1})) + I^t
  o^t = 1 if u^t > v, else 0; its derivatives are do/du = s(z) / v and do/dv = -s(z) u / v^2,
  with the surrogate s(z) = 0.3 max(0, 1 - |z|), z = u/v - 1
  step order integrate-then-fire sends s^t = o^t; fire-then-integrate sends s^t = o^{t-1}

plif.json: [case]. A case has name, time_steps, neuron (a `NeuronConfig`), leak_logit w [1],
  thresholds [1] or [C], currents, output_grad and spikes [T*B,C,P], and the gradients of
  sum(output_grad * spikes): currents_grad [T*B,C,P], leak_logit_grad [1], thresholds_grad.

Values are computed in f64. Currents, thresholds and w are binary fractions, but sigmoid(w) is not.
So every membrane potential is at least MARGIN away from its threshold, and no spike depends on
rounding. An array is {"shape": [...], "data": [...]}, row-major.
"""

import itertools
import json
from pathlib import Path

import torch

STEPS, BATCH, CHANNELS, POSITIONS = 7, 2, 2, 3
MARGIN = 1e-3


class Spike(torch.autograd.Function):
    """1 where u > v. Its derivative with respect to z = u/v - 1 is the surrogate."""

    @staticmethod
    def forward(context, u, v):
        context.save_for_backward(u, v)
        return (u > v).to(u)

    @staticmethod
    def backward(context, grad):
        u, v = context.saved_tensors
        slope = grad * 0.3 * (1 - (u / v - 1).abs()).clamp_min(0)
        return slope / v, -slope * u / v**2


def scan(currents, thresholds, w, reset, step_order):
    """Spikes [T,B,C,P] of currents, and the least distance of a potential from its threshold."""
    leak = torch.sigmoid(w)
    v = thresholds.reshape(-1, 1).expand(currents.shape[1:])
    u = torch.zeros_like(v)
    fired, sent, margin = Spike.apply(u, v), [], float("inf")
    for current in currents:
        before = fired
        if reset == "subtract":
            u = leak * u + current - v * before.detach()
        else:
            u = leak * u * (1 - before.detach()) + current
        fired = Spike.apply(u, v)
        margin = min(margin, (u - v).abs().min().item())
        sent.append(fired if step_order == "integrate-then-fire" else before)
    return torch.stack(sent), margin


def array(tensor):
    return {"shape": list(tensor.shape), "data": tensor.detach().flatten().tolist()}


def case(reset, step_order, w, per, seed):
    """A case. None if a potential is too close to its threshold, or if nothing fires."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape, mean, scale):
        """Multiples of 2^-5."""
        normal = torch.randn(shape, generator=generator, dtype=torch.float64)
        return ((mean + normal * scale) * 32).round() / 32

    shape = [STEPS, BATCH, CHANNELS, POSITIONS]
    currents = draw(shape, 0.4, 0.6).requires_grad_()
    thresholds = torch.tensor([0.75] if per == "layer" else [0.625, 1.125], dtype=torch.float64)
    thresholds.requires_grad_()
    w = torch.tensor([w], dtype=torch.float64, requires_grad=True)
    spikes, margin = scan(currents, thresholds, w, reset, step_order)
    rate = spikes.mean().item()
    if margin < MARGIN or not 0.2 < rate < 0.8:
        return None
    output_grad = draw(shape, 0, 1)
    (spikes * output_grad).sum().backward()
    if min(w.grad.abs().min(), thresholds.grad.abs().min()) < 1e-3:
        return None

    def rows(tensor):
        return array(tensor.reshape(STEPS * BATCH, CHANNELS, POSITIONS))

    return {
        "name": f"{reset}, {step_order}, w {w.item()}, threshold of each {per}",
        "time_steps": STEPS,
        "neuron": {
            "kind": "plif",
            "threshold": {"per": per, "train": True},
            "reset": reset,
            "step_order": step_order,
        },
        "leak_logit": array(w),
        "thresholds": array(thresholds),
        "currents": rows(currents),
        "output_grad": rows(output_grad),
        "spikes": rows(spikes),
        "currents_grad": rows(currents.grad),
        "leak_logit_grad": array(w.grad),
        "thresholds_grad": array(thresholds.grad),
    }


def main():
    cases = []
    options = itertools.product(
        ["subtract", "zero"],
        ["integrate-then-fire", "fire-then-integrate"],
        [(0.0, "layer"), (1.75, "channel"), (-0.875, "layer")],
    )
    for index, (reset, step_order, (w, per)) in enumerate(options):
        draws = (case(reset, step_order, w, per, 1000 * index + again) for again in range(999))
        cases.append(next(filter(None, draws)))
    lines = ",\n".join(json.dumps(case) for case in cases)
    (Path(__file__).parent / "plif.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
