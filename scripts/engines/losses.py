# SPDX-License-Identifier: Apache-2.0
"""The distillation loss of `espalier distill` with PyTorch: sums over tokens, which the caller divides once.

    kl = temperature^2 * divergence of the distributions softmax(logits / temperature)      ce = -log softmax(student)[target]

Divergences of a whole teacher: forward_kl (Hinton, Vinyals, Dean 2015, arXiv:1503.02531), reverse_kl (Gu et al. 2023, arXiv:2306.08543) and
jsd (Agarwal et al. 2023, arXiv:2306.13649, with beta 1/2).

A teacher that is known on k tokens K and by the mass p_R of all others has forward_kl alone. The tokens outside K are one event, "rest":

    kl = temperature^2 * (sum_{i in K} p_i log(p_i / q_i) + p_R log(p_R / q_R)),   q_R = sum_{j not in K} q_j

lib/train/distill/row_loss.h says why the rest may not be left out."""
import math

import torch
from torch.utils.checkpoint import checkpoint


def forward_kl(student, teacher):
    return (teacher.exp() * (teacher - student)).sum(-1)


def reverse_kl(student, teacher):
    return (student.exp() * (student - teacher)).sum(-1)


def jsd(student, teacher):
    middle = torch.logaddexp(student, teacher) - math.log(2)
    return 0.5 * (teacher.exp() * (teacher - middle) + student.exp() * (student - middle)).sum(-1)


DIVERGENCES = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "jsd": jsd}


def sparse_forward_kl(logits, ids, log_probabilities, rest):
    """The divergence [n] of student logits [n, V], already divided by the temperature, from k kept tokens [n, k] and the rest [n]."""
    student = torch.log_softmax(logits, -1)
    kl = (log_probabilities.exp() * (log_probabilities - student.gather(1, ids))).sum(-1)
    if ids.shape[1] < logits.shape[1]:
        # The rest is summed directly; 1 minus the mass in K would lose a small rest.
        student_rest = torch.logsumexp(student.scatter(1, ids, -math.inf), -1)
        kl = kl + torch.xlogy(rest, rest) - rest * student_rest
    return kl


def _chunk_sums(student, targets, teacher, kind, temperature):
    """(kl, ce) of some tokens. `kind` names the divergence from teacher logits, or is "sparse" or "none"."""
    student, scored = student.float(), targets >= 0
    ce = torch.nn.functional.cross_entropy(student, targets, ignore_index=-1, reduction="sum")
    if kind == "none":
        return ce.new_zeros(()), ce
    if kind == "sparse":
        kl = sparse_forward_kl(student / temperature, *teacher)
    else:
        kl = DIVERGENCES[kind](torch.log_softmax(student / temperature, -1), torch.log_softmax(teacher[0].float() / temperature, -1))
    return torch.where(scored, kl, 0).sum() * temperature**2, ce


def sums(student, targets, teacher, kind, options):
    """(kl, ce) summed over the scored tokens. student: logits [n, V]; targets: int64 [n], -1 is not scored; teacher: a tuple of tensors with
    n rows each. Intermediate values exist for one chunk of tokens at a time and are computed again for the gradient."""
    chunk = options.vocab_chunk or min(max((24 << 20) // student.shape[1], 16), 4096)
    total = [0, 0]
    for begin in range(0, len(targets), chunk):
        part = slice(begin, begin + chunk)
        values = checkpoint(_chunk_sums, student[part], targets[part], tuple(t[part] for t in teacher), kind, options.temperature, use_reentrant=False)
        total = [a + b for a, b in zip(total, values)]
    return total
