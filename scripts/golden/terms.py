#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden gradients of the terms of a training objective: 20 steps of descent in float64, by PyTorch's autograd, from formulas written out in terms of
probabilities.

Writes tests/golden/term_<name>.json for the terms named, or for all. A term of text or logits trains hidden states and an output matrix, at
temperature 1.7 and weight 0.6. A term of states trains the student's states and its extras. One token of six is masked. All values are rounded to
17 digits, so they are read as the same doubles.

Command: python scripts/golden/terms.py [NAME...]    (torch 2.13.0; the version is stored in each file)
"""
import json, pathlib, sys
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden"
STEPS, RATE, WEIGHT, TEMPERATURE, ALPHA = 20, 0.2, 0.6, 1.7, 0.1
N, H, HT, V = 6, 4, 5, 9
TARGETS = [3, 0, -1, 8, 5, 3]


def kl(p, q):
    return (p * (p / q).log()).sum(-1)


# Of the student's probabilities s and the teacher's t.
LOGITS = {
    "forward_kl": lambda s, t: kl(t, s),
    "reverse_kl": lambda s, t: kl(s, t),
    "jsd": lambda s, t: kl(t, (s + t) / 2) / 2 + kl(s, (s + t) / 2) / 2,
    "skew_kl": lambda s, t: kl(t, ALPHA * t + (1 - ALPHA) * s),
    "skew_reverse_kl": lambda s, t: kl(s, (1 - ALPHA) * t + ALPHA * s),
}
TEXT = {"ce": lambda logits, targets: torch.nn.functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")}
# Of the student's states s, the teacher's t and the projection w (None: equal widths), one value a token.
STATES = {"hidden_mse": lambda s, t, w: ((s if w is None else s @ w.T) - t).pow(2).sum(-1) / t.shape[-1]}


def listed(t):
    return [float(f"{v:.17g}") for v in t.detach().flatten().tolist()]


def descend(parameters, loss):
    """The loss and the gradient by every parameter before each step."""
    for p in parameters:
        p.requires_grad_(True)
    steps = []
    for _ in range(STEPS):
        value = loss()
        gradients = torch.autograd.grad(WEIGHT * value, parameters)
        steps.append({"sum": float(f"{value:.17g}"), "gradients": [listed(g) for g in gradients]})
        with torch.no_grad():
            for p, g in zip(parameters, gradients):
                p -= RATE * g
    return steps


def of_logits(name):
    hidden, output, teacher_hidden, teacher_output = torch.randn(N, H), torch.randn(V, H) * 0.7, torch.randn(N, HT), torch.randn(V, HT) * 0.7
    targets, scored = torch.tensor(TARGETS), torch.tensor(TARGETS) >= 0
    start = {"student_hidden": hidden.clone(), "student_output": output.clone(), "teacher_hidden": teacher_hidden, "teacher_output": teacher_output}

    def loss():
        logits, teacher = hidden @ output.T, teacher_hidden @ teacher_output.T
        if name in TEXT:
            return TEXT[name](logits, targets)
        each = LOGITS[name](torch.softmax(logits / TEMPERATURE, -1), torch.softmax(teacher / TEMPERATURE, -1))
        return TEMPERATURE ** 2 * each[scored].sum()
    return [{"start": {key: listed(value) for key, value in start.items()}, "steps": descend([hidden, output], loss)}]


def of_states(name):
    scored, cases = torch.tensor(TARGETS) >= 0, []
    for width in (HT, H):
        student, teacher = torch.randn(N, width), torch.randn(N, HT)
        w = None if width == HT else torch.eye(HT, width)
        start = {"student": listed(student), "teacher": listed(teacher), "width": width, "teacher_width": HT}
        cases.append({"start": start, "steps": descend([student] + ([] if w is None else [w]), lambda: STATES[name](student, teacher, w)[scored].sum())})
    return cases


torch.set_default_dtype(torch.float64)
for name in sys.argv[1:] or [*LOGITS, *TEXT, *STATES]:
    torch.manual_seed(sum(map(ord, name)))
    cases = of_states(name) if name in STATES else of_logits(name)
    about = {"command": "python scripts/golden/terms.py", "torch": torch.__version__, "targets": TARGETS, "rate": RATE, "weight": WEIGHT,
             "temperature": TEMPERATURE, "cases": cases}
    (ROOT / f"term_{name}.json").write_text(json.dumps(about) + "\n")
    print(name, [case["steps"][0]["sum"] for case in cases], [case["steps"][-1]["sum"] for case in cases])
