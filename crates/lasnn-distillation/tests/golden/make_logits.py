"""Golden values of the losses on logits (logits.json), from formulas in double precision.

The script writes the file into its own folder: `python3 make_logits.py`. It needs no library.
`make_golden.py` computes the same values with PyTorch's autograd and compares them.

With the student's logits z [T, B, C] of each time step, the teacher's logits [B, C] and the labels
y [B], the losses take one row for each image, or for each time step and image:
  mean   z summed over the steps and divided by T
  sum    z summed over the steps
  step   z itself, with the teacher's logits and the labels of the same image
and are means over the rows:
  cross_entropy   -log softmax(z)[y]
  logits          tau^2 KL(softmax(teacher / tau) || softmax(z / tau))
Gradients are those with respect to the student's logits z of each time step. With respect to a row
they are (softmax(z) - onehot(y)) / rows and
tau (softmax(z / tau) - softmax(teacher / tau)) / rows.

logits.json is {"cases": [case]}. A case has
  name, temperature, student [T,B,C], teacher [B,C], labels [B]
  cross_entropy, logits   {"mean", "sum", "step"}: {"loss", "student_grad": array}
An array is {"shape": [...], "data": [...]}, row-major. Logits are multiples of 1/64, so single
precision represents them. Values have 9 significant digits.
"""

import json
import math
from pathlib import Path

HERE = Path(__file__).parent
# name, steps, batch, classes, temperature, scale of the logits
CASES = [
    ("small", 4, 3, 5, 4.0, 2.0),
    ("odd-steps", 3, 2, 4, 1.5, 3.0),
    ("one-step", 1, 4, 10, 4.0, 1.0),
    ("large", 5, 2, 3, 1.0, 60.0),
]


def numbers(count, key, scale):
    """Logits without a pattern that a mistake in the order of axes could hide."""
    return [
        round(64 * scale * math.sin(1.7 * index + key + 0.3 * math.sin(index * index))) / 64
        for index in range(count)
    ]


def inputs(case):
    """The student's logits by step and image, the teacher's by image, and the labels."""
    name, steps, batch, classes, temperature, scale = case
    student = numbers(steps * batch * classes, 0.2, scale)
    teacher = numbers(batch * classes, 0.9, scale)
    labels = [(2 * image + 1) % classes for image in range(batch)]
    rows = [student[start : start + classes] for start in range(0, len(student), classes)]
    student = [rows[step * batch : (step + 1) * batch] for step in range(steps)]
    teacher = [teacher[start : start + classes] for start in range(0, len(teacher), classes)]
    return student, teacher, labels


def log_softmax(logits):
    largest = max(logits)
    total = math.log(math.fsum(math.exp(logit - largest) for logit in logits))
    return [logit - largest - total for logit in logits]


def cross_entropy(logits, teacher, label, temperature):
    """The loss of a row, and its gradient."""
    logs = log_softmax(logits)
    return -logs[label], [math.exp(log) - (index == label) for index, log in enumerate(logs)]


def distillation(logits, teacher, label, temperature):
    """The loss of a row, and its gradient."""
    student = log_softmax([logit / temperature for logit in logits])
    target = log_softmax([logit / temperature for logit in teacher])
    divergence = math.fsum(math.exp(p) * (p - q) for p, q in zip(target, student))
    gradient = [temperature * (math.exp(q) - math.exp(p)) for p, q in zip(target, student)]
    return temperature**2 * divergence, gradient


def golden(loss, on, student, teacher, labels, temperature):
    """The loss and its gradient with respect to the logits of each step."""
    steps, batch, classes = len(student), len(teacher), len(teacher[0])
    if on == "step":
        results = [
            loss(student[step][image], teacher[image], labels[image], temperature)
            for step in range(steps)
            for image in range(batch)
        ]
        rows, per_step = results, 1.0
    else:
        divisor = steps if on == "mean" else 1
        summed = [
            [math.fsum(step[image][k] for step in student) / divisor for k in range(classes)]
            for image in range(batch)
        ]
        results = [loss(*row, temperature) for row in zip(summed, teacher, labels)]
        # A row depends on every step alike.
        rows, per_step = results * steps, 1.0 / divisor
    gradient = [per_step * value / len(results) for _, row in rows for value in row]
    value = math.fsum(value for value, _ in results) / len(results)
    return {
        "loss": rounded(value),
        "student_grad": array(gradient, [steps, batch, classes]),
    }


def rounded(value):
    return float(f"{value:.9g}")


def array(data, shape):
    return {"shape": shape, "data": [rounded(value) for value in data]}


def case(parameters):
    name, steps, batch, classes, temperature, _ = parameters
    student, teacher, labels = inputs(parameters)
    flat = [value for step in student for row in step for value in row]
    result = {
        "name": name,
        "temperature": temperature,
        "student": array(flat, [steps, batch, classes]),
        "teacher": array([value for row in teacher for value in row], [batch, classes]),
        "labels": labels,
    }
    for key, loss in [("cross_entropy", cross_entropy), ("logits", distillation)]:
        result[key] = {
            on: golden(loss, on, student, teacher, labels, temperature)
            for on in ("mean", "sum", "step")
        }
    return result


def main():
    lines = ",\n".join(json.dumps(case(each), separators=(",", ":")) for each in CASES)
    (HERE / "logits.json").write_text(f'{{"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
