"""Golden values of losses of the student (losses.json), from autograd in double precision.

The script writes the file into its own folder: `python3 make_losses.py` (needs `torch`).

losses.json is {"cases": [case]}. A case has
  name, loss             a title, and the loss as an entry of `[[student.losses]]`
  time_steps, labels     T, and the classes [B]
  student, teacher       what a pass has returned, see below; the teacher may be empty
  value, gradients       the loss, and its gradients in the form of `student`
What a pass has returned is a table whose keys may be missing:
  logits_by_step         [T, B, C]
  spike_counts           a list of [B, C, H, W], one for each layer of neurons
  attention              attention maps [B, 1, H, W] by tap
  activation_maps        spike activation maps [T, B, H, W] by tap
  gradient_maps          gradient maps [B, 1, H, W] of a teacher by tap
An array is {"shape": [...], "data": [...]}, row-major. Inputs are multiples of 1/64, so single
precision represents them. Values have 9 significant digits.
"""

import json
from pathlib import Path

import torch
from torch.nn import functional as F

HERE = Path(__file__).parent


def kl(target, student, temperature):
    """KL(softmax(target / tau) || softmax(student / tau)), the mean over the rows."""
    p = torch.softmax(target / temperature, dim=1)
    q = torch.softmax(student / temperature, dim=1)
    return (p * (p / q).log()).sum(dim=1).mean()


def compared(loss, ours, theirs):
    """The maps in the smaller of the two sizes, flattened, compared as `normalise` says."""
    size = [min(pair) for pair in zip(ours.shape[2:], theirs.shape[2:])]
    ours, theirs = (F.adaptive_avg_pool2d(x, size).flatten(1) for x in (ours, theirs))
    if loss["normalise"] == "softmax":
        tau = loss["temperature"]
        return tau**2 * kl(theirs, ours, tau)
    if loss["normalise"] == "l2":
        ours, theirs = (F.normalize(x, dim=1) for x in (ours, theirs))
    if loss["distance"] == "norm":
        return torch.linalg.vector_norm(ours - theirs, dim=1).mean()
    return F.mse_loss(ours, theirs)


def attention(loss, time_steps, student, teacher, labels):
    pairs = ((ours, teacher["attention"][tap]) for tap, ours in student["attention"].items())
    return sum(compared(loss, *pair) for pair in pairs)


def gradient_attention(loss, time_steps, student, teacher, labels):
    total = 0
    for tap, maps in student["activation_maps"].items():
        total += compared(loss, maps.sum(0)[:, None], teacher["gradient_maps"][tap])
    return total


def spike_distillation(loss, time_steps, student, teacher, labels):
    """Window by window: the mean map over the window, with the teacher's steps in equal parts."""
    values = []
    for tap, ours in student["activation_maps"].items():
        theirs = teacher["activation_maps"][tap]
        parts = len(theirs) // time_steps
        theirs = theirs.reshape(time_steps, parts, *theirs.shape[1:]).mean(1)
        for start in range(0, time_steps - loss["window"] + 1, loss["stride"]):
            of_window = slice(start, start + loss["window"])
            pair = (x[of_window].mean(0)[:, None] for x in (ours, theirs))
            values.append(compared(loss, *pair))
    return sum(values) / len(values)


def firing_rate(loss, time_steps, student, teacher, labels):
    """The squared distance of the rate of each layer from the target, or from above it."""
    rates = [counts.mean() / time_steps for counts in student["spike_counts"]]
    if loss["above_only"]:
        rates = [rate for rate in rates if rate > loss["target"]]
    return sum(((rate - loss["target"]) ** 2 for rate in rates), torch.zeros(()))


def logit_regularisation(loss, time_steps, student, teacher, labels):
    logits = student["logits_by_step"]
    return F.mse_loss(logits, torch.full_like(logits, loss.get("target", 1.0)))


def step_distillation(loss, time_steps, student, teacher, labels):
    logits = student["logits_by_step"]
    confidence = torch.softmax(logits, dim=2).amax(dim=2).mean(dim=1).tolist()
    assert len(set(confidence)) == time_steps
    order = sorted(range(time_steps), key=lambda step: confidence[step])
    strong, weak = logits[order[-1]], logits[order[0]]
    target, learner = (strong, weak) if loss["direction"] == "strong-to-weak" else (weak, strong)
    if loss["stop_gradient"]:
        target = target.detach()
    return kl(target, learner, loss["temperature"])


def cumulative_logits(loss, time_steps, student, teacher, labels):
    """The target is made image by image."""
    logits, tau, total = student["logits_by_step"], loss["temperature"], 0
    for image, label in enumerate(labels.tolist()):
        ours = logits[:, image]
        right = [z.detach() for z in ours if z.argmax().item() == label]
        target = torch.stack(right).mean(dim=0) if right else torch.zeros_like(ours[0])
        total += sum(tau**2 * kl(target[None], z[None], tau) for z in ours)
    return total / (len(labels) * time_steps)


LOSSES = {
    "attention": attention,
    "gradient-attention": gradient_attention,
    "spike-distillation": spike_distillation,
    "firing-rate": firing_rate,
    "logit-regularisation": logit_regularisation,
    "step-distillation": step_distillation,
    "cumulative-logits": cumulative_logits,
}


def draw(*shape, scale=1.0):
    return (64 * scale * torch.randn(*shape, dtype=torch.float64)).round() / 64


def maps(*shape):
    return {"attention": {"low": draw(3, 1, *shape).abs()}}


def counts(time_steps, *rates):
    """Spike counts of layers of several sizes with about these firing rates."""
    sizes = [(4, 3, 5), (6, 2, 2), (7, 1, 1), (2, 4, 4)]
    neurons = [torch.full((3, *size), rate) for size, rate in zip(sizes, rates)]
    spikes = [torch.bernoulli(rate.expand(time_steps, *rate.shape)) for rate in neurons]
    return {"spike_counts": [each.sum(0).double() for each in spikes]}


def cases():
    """Name, entry of the recipe, time steps, student, teacher, labels."""
    images = [0, 0, 0]
    softmax = {"kind": "attention", "normalise": "softmax", "taps": ["low"]}
    for temperature in (2.0, 0.5):
        loss = softmax | {"temperature": temperature}
        yield "same size", loss, 1, maps(3, 4), maps(3, 4), images
        yield "student larger", loss, 1, maps(4, 6), maps(2, 3), images
    raw = {"kind": "attention", "normalise": "none", "taps": ["low"]}
    for distance in ("norm", "mean-square"):
        loss = raw | {"distance": distance}
        yield "same size", loss, 1, maps(3, 4), maps(3, 4), images
        yield "teacher larger", loss, 1, maps(2, 2), maps(4, 6), images
    for above_only in (True, False):
        for target in (0.05, 0.25):
            loss = {"kind": "firing-rate", "target": target, "above_only": above_only}
            student = counts(6, 0.4, 0.0, 0.15, 0.02)
            yield "four layers, one silent", loss, 6, student, {}, images
    for loss in ({}, {"target": -0.5}):
        student = {"logits_by_step": draw(4, 3, 5, scale=2.0)}
        yield "logits", loss | {"kind": "logit-regularisation"}, 4, student, {}, images
    for direction in ("strong-to-weak", "weak-to-strong"):
        for temperature, stop in ((2.0, False), (2.0, True), (1.0, False)):
            loss = {"kind": "step-distillation", "direction": direction}
            loss |= {"temperature": temperature, "stop_gradient": stop}
            student = {"logits_by_step": draw(5, 3, 4, scale=2.0)}
            yield "five steps", loss, 5, student, {}, images
    for temperature in (3.0, 1.0):
        for name, steps in (("some steps are right", 4), ("one step", 1)):
            logits = draw(steps, 5, 6, scale=2.0)
            predicted = [set(image.tolist()) for image in logits.argmax(dim=2).T]
            # No step is right about the images 1 and 4, and at least one about each other image.
            labels = [min(classes) for classes in predicted]
            for image in (1, 4):
                labels[image] = min(set(range(6)) - predicted[image])
            loss = {"kind": "cumulative-logits", "temperature": temperature}
            yield name, loss, steps, {"logits_by_step": logits}, {}, labels


    for normalise in ("l2", "softmax"):
        for distance, temperature in (("norm", 2.0), ("mean-square", 0.5)):
            loss = {"kind": "gradient-attention", "normalise": normalise, "distance": distance}
            loss |= {"temperature": temperature, "taps": ["middle"]}
            student = {"activation_maps": {"middle": draw(4, 3, 4, 6).abs()}}
            teacher = {"gradient_maps": {"middle": draw(3, 1, 2, 3, scale=0.1).abs()}}
            yield "student larger", loss, 4, student, teacher, images


    for window, stride, parts in ((1, 1, 1), (2, 1, 2), (3, 2, 1), (5, 1, 3)):
        loss = {"kind": "spike-distillation", "window": window, "stride": stride}
        loss |= {"normalise": "l2", "distance": "norm", "taps": ["high"]}
        student = {"activation_maps": {"high": draw(5, 3, 2, 4, scale=2.0).abs()}}
        teacher = {"activation_maps": {"high": draw(5 * parts, 3, 4, 4, scale=2.0).abs()}}
        yield f"teacher with {parts} times the steps", loss, 5, student, teacher, images


def each(tree, function):
    """The same tree with `function` of each tensor."""
    if isinstance(tree, dict):
        return {key: each(value, function) for key, value in tree.items()}
    if isinstance(tree, list):
        return [each(value, function) for value in tree]
    return function(tree)


def rounded(value):
    value = float(f"{value:.9g}")
    return int(value) if value == 0.0 else value


def array(tensor):
    return {"shape": list(tensor.shape), "data": [rounded(x) for x in tensor.flatten().tolist()]}


def case(name, loss, time_steps, student, teacher, labels):
    leaves = each(student, lambda tensor: tensor.clone().requires_grad_())
    value = LOSSES[loss["kind"]](loss, time_steps, leaves, teacher, torch.tensor(labels))
    value.backward()
    gradients = each(leaves, lambda x: torch.zeros_like(x) if x.grad is None else x.grad)
    assert value.isfinite()
    return {
        "name": name,
        "loss": loss,
        "time_steps": time_steps,
        "labels": labels,
        "student": each(student, array),
        "teacher": each(teacher, array),
        "value": rounded(value.item()),
        "gradients": each(gradients, array),
    }


def main():
    torch.manual_seed(7)
    lines = ",\n".join(json.dumps(case(*each), separators=(",", ":")) for each in cases())
    (HERE / "losses.json").write_text(f'{{"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
