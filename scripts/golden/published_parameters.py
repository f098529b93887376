#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges configs/dims/parameters.tsv: transformers builds every shape without memory and counts its parameters, tied weights once. Of
models with experts it also counts those that one token uses: all but the experts that the token passes by.

Families that are not in transformers keep their published numbers. A shape that is not in the table is printed as a line for it, and counts
as a fault, like a number that differs and a line without a shape.

Command: python scripts/golden/published_parameters.py    (transformers 5, torch)
"""
import json, pathlib, sys
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

DIMS = pathlib.Path(__file__).resolve().parents[2] / "configs" / "dims"


def count(config):
    """Parameters of the model that a config.json describes, and those that one token uses where it has experts. Nothing for a family that
    transformers does not have."""
    if config["model_type"] not in CONFIG_MAPPING:
        return []
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[config["model_type"]].from_dict(config))
    every, experts = sum(p.numel() for p in model.parameters()), sum(p.numel() for n, p in model.named_parameters() if ".experts." in n)
    if experts == 0:
        return [every]
    return [every, every - experts + experts // model.config.num_experts * model.config.num_experts_per_tok]


lines = [line.split("\t") for line in (DIMS / "parameters.tsv").read_text().splitlines() if not line.startswith("#")]
table = {name: [int(parameters), *map(int, active)] for name, parameters, _, _, *active in lines}
shapes = {path.stem: json.loads(path.read_text()) for path in sorted(DIMS.glob("*.json"))}
faults = [f"{name}: in the table, but no such shape" for name in table.keys() - shapes.keys()]
unjudged = []
for name, config in shapes.items():
    counted = count(config)
    if not counted:
        unjudged.append(name)
    if name not in table:
        faults.append("\t".join([name, *map(str, counted[:1]), "MODEL", "BASIS", *map(str, counted[1:])]))
    elif counted and counted != table[name]:
        faults.append(f"{name}: the table says {table[name]}, transformers {counted}")
print(f"{len(shapes) - len(unjudged)} shapes judged by transformers; published numbers alone: {', '.join(unjudged)}")
sys.exit("\n".join(faults) or 0)
