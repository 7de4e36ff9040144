"""Golden values by PyTorch's autograd: attention.json for the attention loss over one pair of
layers.

Regenerate it, beside this script, with `python3 make_golden.py` (needs `torch`).

F(A) = mean over the channels of A^2, an attention map [B, H, W]. If the sizes of the two maps
differ, the larger map is pooled to the size of the smaller one by adaptive average pooling (the
map, before it is normalised). Q is the map flattened to [B, H W] and divided by
max(norm of the sample, epsilon). The loss over the pair, with distance
  norm          mean over the batch of || Qs - Qt ||_2
  mean-square   mean over batch and positions of (Qs - Qt)^2, as in the published code of
                attention transfer
The maps are never equal, so the root of `norm` needs no epsilon.

attention.json: {"epsilon", "cases": [case]}. A case has
  name, student [B,C,H,W], teacher [B,C,H,W] (features, not maps),
  norm         {"loss", "student_grad": array}: the gradient with respect to the student's features
  mean_square  the same for the other distance
  student_map, teacher_map   Q of both after pooling and normalising, [B, H W]
In the case `silent-sample` the student's second sample is all zero: its Q and its gradient are
zero, and its distance is 1.

Values are computed in f64 from features rounded to f32. An array is
{"shape": [...], "data": [...]}, row-major, with 9 significant digits.
"""

import json
from pathlib import Path

import torch
from torch.nn import functional as F

HERE = Path(__file__).parent
EPSILON = 1e-6


def maps(student, teacher):
    """Q of both, [B, H W]."""
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
    # Firing rates on the student's side, so between 0 and 1; ReLU activations on the teacher's.
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


def main():
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
