#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the sampler: what transformers' logits processors make of the same logits.

Writes tests/golden/sampler.json: logits [tokens], the text seen so far, and for each case the options (by our names) and the probabilities that are left,
as {token: probability}. The random logits have no ties, whose order transformers leaves open.

Command: python scripts/golden/sampler.py    (the versions are stored in the file)
"""
import json
import pathlib

import torch
import transformers
from transformers.generation import logits_process as p

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "sampler.json"
TOKENS = 60
CASES = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.0, "top_k": 7},
    {"temperature": 1.5, "top_p": 0.8},
    {"temperature": 0.9, "min_p": 0.1},
    {"temperature": 1.0, "repeat_penalty": 1.3},
    {"temperature": 1.0, "repeat_penalty": 0.8},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.05, "repeat_penalty": 1.2},
    {"temperature": 2.0, "top_p": 0.5, "min_p": 0.5},
]

torch.manual_seed(7)
logits = (torch.randn(TOKENS, dtype=torch.float64) * 2).float()
seen = [3, 17, 3, 42, 59, 0]
cases = []
for options in CASES:
    scores = logits[None].double()
    ids = torch.tensor([seen])
    steps = []
    if "repeat_penalty" in options:
        steps.append(p.RepetitionPenaltyLogitsProcessor(options["repeat_penalty"]))
    steps.append(p.TemperatureLogitsWarper(options["temperature"]))
    if "top_k" in options:
        steps.append(p.TopKLogitsWarper(options["top_k"]))
    if "top_p" in options:
        steps.append(p.TopPLogitsWarper(options["top_p"]))
    if "min_p" in options:
        steps.append(p.MinPLogitsWarper(options["min_p"]))
    for step in steps:
        scores = step(ids, scores)
    left = torch.softmax(scores, -1)[0]
    cases.append({"options": options, "probabilities": {str(i): float(f"{v:.9g}") for i, v in enumerate(left.tolist()) if v > 0}})

OUT.write_text(json.dumps({"command": "python scripts/golden/sampler.py", "transformers": transformers.__version__, "torch": torch.__version__,
                           "logits": [float(f"{v:.9g}") for v in logits.tolist()], "seen": seen, "cases": cases}, indent=1) + "\n")
print(f"{OUT}: {len(cases)} cases")
