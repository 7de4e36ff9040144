"""Golden values of the attention loss over one pair of layers (attention.json), from autograd.

The script writes the file into its own folder: `python3 make_golden.py` (needs `torch`).
It also computes the losses on logits with autograd and compares them with logits.json, which
`make_logits.py` has written.

The attention map F(A) [B, H, W] is the mean of A^2 over the channels. If the sizes of the two maps
differ, adaptive average pooling reduces the larger one to the size of the smaller one. Then each
map is flattened to [B, H W], and each sample is divided by max(its norm, epsilon), which gives Q.
The loss of the pair depends on the distance:
  norm          mean over the batch of || Qs - Qt ||_2
  mean-square   mean over batch and positions of (Qs - Qt)^2, as in the published code of attention
                transfer
The two maps are never equal, so the square root of `norm` needs no epsilon.

attention.json is {"epsilon", "cases": [case]}. A case has
  name, student [B,C,H,W], teacher [B,C,H,W] (feature maps, not attention maps)
  norm         {"loss", "student_grad": array}, the gradient with respect to the student's features
  mean_square  the same for the other distance
  student_map, teacher_map   Q of both [B, H W]
In the case `silent-sample` the student's second sample is zero, so its Q and its gradient are zero
and its distance is 1.

All values are computed in f64 from features that are rounded to f32. An array is
{"shape": [...], "data": [...]}, row-major, with 9 significant digits.
"""

import json
from pathlib import Path

import make_logits
import torch
from torch.nn import functional as F

HERE = Path(__file__).parent
EPSILON = 1e-6


def maps(student, teacher):
    """Q of both [B, H W]."""
    student, teacher = (
        features.square().mean(dim=1, keepdim=True) for features in (student, teacher)
    )
    if student.shape[2] > teacher.shape[2]:
        student = F.adaptive_avg_pool2d(student, teacher.shape[2:])
    elif teacher.shape[2] > student.shape[2]:
        teacher = F.adaptive_avg_pool2d(teacher, student.shape[2:])
    return [
        F.normalize(attention.flatten(1), dim=1, eps=EPSILON) for attention in (student, teacher)
    ]


def norm(student, teacher):
    return torch.linalg.vector_norm(student - teacher, dim=1).mean()


def mean_square(student, teacher):
    return (student - teacher).square().mean()


def array(tensor):
    data = [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "data": [int(x) if x == 0.0 else x for x in data]}


def case(name, student_size, teacher_size, silent=None):
    # The student has firing rates between 0 and 1, and the teacher has ReLU activations.
    student = torch.rand(3, 4, *student_size)
    teacher = torch.randn(3, 5, *teacher_size).relu()
    if silent is not None:
        student[silent] = 0
    student, teacher = student.double(), teacher.double()
    golden = {"name": name, "student": array(student), "teacher": array(teacher)}
    for distance in (norm, mean_square):
        leaf = student.clone().requires_grad_()
        loss = distance(*maps(leaf, teacher))
        loss.backward()
        assert loss.isfinite() and leaf.grad.isfinite().all()
        if silent is not None:
            assert not leaf.grad[silent].any()
        golden[distance.__name__] = {
            "loss": float(f"{loss.item():.9g}"),
            "student_grad": array(leaf.grad),
        }
    golden["student_map"], golden["teacher_map"] = map(array, maps(student, teacher))
    return golden


def check_logits():
    """Compares logits.json with the values and gradients of autograd."""
    cases = json.loads((HERE / "logits.json").read_text())["cases"]
    for golden, parameters in zip(cases, make_logits.CASES, strict=True):
        student, teacher, labels = map(torch.tensor, make_logits.inputs(parameters))
        student, teacher = student.double(), teacher.double()
        steps, temperature = len(student), golden["temperature"]
        soft_target = F.log_softmax(teacher / temperature, dim=1)
        for on in ("mean", "sum", "step"):
            leaf = student.clone().requires_grad_()
            copies = steps if on == "step" else 1
            logits = {"mean": leaf.mean(0), "sum": leaf.sum(0), "step": leaf.flatten(0, 1)}[on]
            divergence = F.kl_div(
                F.log_softmax(logits / temperature, dim=1),
                soft_target.repeat(copies, 1),
                reduction="batchmean",
                log_target=True,
            )
            losses = {
                "cross_entropy": F.cross_entropy(logits, labels.repeat(copies)),
                "logits": temperature**2 * divergence,
            }
            for name, loss in losses.items():
                expected = golden[name][on]
                (gradient,) = torch.autograd.grad(loss, leaf, retain_graph=True)
                data = torch.tensor(expected["student_grad"]["data"]).double()
                torch.testing.assert_close(gradient.flatten(), data, rtol=1e-6, atol=1e-9)
                assert abs(loss.item() - expected["loss"]) <= 1e-8 * max(1.0, abs(loss.item()))


def main():
    check_logits()
    torch.manual_seed(5)
    cases = [
        case("same-size", (6, 6), (6, 6)),
        case("student-larger", (8, 8), (4, 4)),
        case("teacher-larger", (4, 4), (8, 8)),
        case("six-to-four", (6, 6), (4, 4)),
        case("four-from-six", (4, 4), (6, 6)),
        case("silent-sample", (6, 6), (6, 6), silent=1),
    ]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / "attention.json").write_text(f'{{"epsilon":{EPSILON},"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
