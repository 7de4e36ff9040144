"""Golden values from PyTorch: optimizers.json for the optimisers, schedules.json for the
learning-rate schedules.

Regenerate both, beside this script, with `python3 make_golden.py` (needs `torch`).

optimizers.json: {"cases": [case]}. Every case moves two parameters, of shapes [4] and [2,3], by
twelve steps in f32. A case has
  name
  optimizer      {"kind": "sgd", lr, momentum, dampening, weight_decay, nesterov} or
                 {"kind": "adam", lr, beta1, beta2, eps, weight_decay, amsgrad, decoupled}; weight
                 decay is coupled L2, or decoupled as in AdamW
  max_norm       null, or the norm to which the gradients of both parameters together are clipped
                 before each step
  gradient_norms null, or the joint norm before clipping, one for each step
  initial        [array, array]
  gradients      [[array, array]], one pair for each step, before clipping and weight decay
  parameters     [[array, array]], the values after each step
The scale of the gradients falls and rises again between steps, so that AMSGrad's maximum differs
from the running mean. The momentum buffer starts as the first gradient (not as (1 - dampening)
times it). AMSGrad takes the maximum of the second moment before its bias correction. Epsilon is
added after the square root.

schedules.json: {"cases": [case]}. A case has name, kind ("multi-step" or "cosine"), epochs and
factors (by which the initial learning rate is multiplied); for multi-step also steps (of an epoch),
shares, milestones and gamma. "multi-step" has a factor for each step of the training, since its
scheduler advances after each step of the optimiser. Its milestones are
ceil(share * epochs * steps). "cosine" has a factor for each epoch: 0.5 (1 + cos(pi e / E)), which
would reach 0 at epoch E, one after the last.

An array is {"shape": [...], "data": [...]}, row-major, with 9 significant digits.
"""

import json
import math
from pathlib import Path

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

HERE = Path(__file__).parent
SHAPES = [(4,), (2, 3)]
# Scale of the gradients at each step.
SCALES = [1.0, 2.0, 0.5, 0.01, 0.003, 0.001, 0.1, 0.02, 1.5, 0.3, 0.005, 0.7]


def sgd(lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    return {
        "kind": "sgd", "lr": lr, "momentum": momentum, "dampening": dampening,
        "weight_decay": weight_decay, "nesterov": nesterov,
    }  # fmt: skip


def adam(
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False
):
    return {
        "kind": "adam", "lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps,
        "weight_decay": weight_decay, "amsgrad": amsgrad, "decoupled": decoupled,
    }  # fmt: skip


def build(settings, parameters):
    settings = dict(settings)
    if settings.pop("kind") == "sgd":
        return torch.optim.SGD(parameters, foreach=False, **settings)
    betas = (settings.pop("beta1"), settings.pop("beta2"))
    rule = torch.optim.AdamW if settings.pop("decoupled") else torch.optim.Adam
    return rule(parameters, betas=betas, foreach=False, **settings)


def array(tensor):
    data = [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "data": data}


def optimizer_case(name, settings, max_norm=None):
    torch.manual_seed(4)
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    optimizer = build(settings, parameters)
    case = {
        "name": name, "optimizer": settings, "max_norm": max_norm,
        "gradient_norms": None if max_norm is None else [],
        "initial": [array(p) for p in parameters], "gradients": [], "parameters": [],
    }  # fmt: skip
    for scale in SCALES:
        for parameter in parameters:
            parameter.grad = scale * torch.randn_like(parameter)
        case["gradients"].append([array(p.grad) for p in parameters])
        if max_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
            case["gradient_norms"].append(float(f"{norm.item():.9g}"))
        optimizer.step()
        case["parameters"].append([array(p) for p in parameters])
    if max_norm is not None:
        assert min(case["gradient_norms"]) < max_norm < max(case["gradient_norms"])
    return case


def optimizer_cases():
    return [
        optimizer_case("sgd", sgd()),
        optimizer_case("sgd-momentum", sgd(momentum=0.9)),
        optimizer_case("sgd-nesterov", sgd(momentum=0.9, nesterov=True)),
        optimizer_case("sgd-momentum-decay", sgd(momentum=0.9, weight_decay=5e-4)),
        optimizer_case("adam", adam()),
        optimizer_case("adam-decay", adam(lr=0.01, weight_decay=5e-4)),
        optimizer_case("adam-decoupled", adam(lr=0.01, weight_decay=0.1, decoupled=True)),
        optimizer_case(
            "adam-amsgrad-decoupled",
            adam(lr=0.01, weight_decay=0.1, amsgrad=True, decoupled=True),
        ),
        optimizer_case("adam-amsgrad", adam(lr=0.01, amsgrad=True)),
        optimizer_case("adam-amsgrad-decay", adam(lr=0.01, weight_decay=5e-4, amsgrad=True)),
        # A small beta2, so that the maximum and the running mean differ much within twelve steps.
        optimizer_case("adam-amsgrad-short", adam(lr=0.01, beta2=0.8, amsgrad=True)),
        optimizer_case("clip-sgd-momentum", sgd(momentum=0.9), max_norm=1.0),
    ]


def factors(epochs, schedule):
    """The factors of a PyTorch scheduler, read from an optimiser whose initial rate is 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule(optimizer)
    values = []
    for _ in range(epochs):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [float(f"{value:.9g}") for value in values]


def multi_step_case(epochs, steps):
    shares = [0.6, 0.8, 0.9]
    # In whole percents: 0.6 * epochs in floating point may be just above a whole number.
    milestones = [-(-round(100 * share) * epochs * steps // 100) for share in shares]
    values = factors(
        epochs * steps, lambda optimizer: MultiStepLR(optimizer, milestones, gamma=0.1)
    )
    return {
        "name": f"multi-step-{epochs}x{steps}", "kind": "multi-step", "epochs": epochs,
        "steps": steps, "shares": shares, "milestones": milestones, "gamma": 0.1,
        "factors": values,
    }  # fmt: skip


def cosine_case(epochs):
    values = [0.5 * (1 + math.cos(math.pi * epoch / epochs)) for epoch in range(epochs)]
    published = factors(epochs, lambda optimizer: CosineAnnealingLR(optimizer, T_max=epochs))
    assert all(abs(a - b) < 1e-8 for a, b in zip(values, published))
    return {
        "name": f"cosine-{epochs}",
        "kind": "cosine",
        "epochs": epochs,
        "factors": [float(f"{v:.9g}") for v in values],
    }


def write(name, cases):
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / name).write_text(f'{{"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    write("optimizers.json", optimizer_cases())
    sizes = ((10, 1), (7, 3), (1, 12), (2, 5), (40, 5))
    write("schedules.json", [multi_step_case(*size) for size in sizes] + [cosine_case(10)])
