#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden gradients of the language model's loss: those that transformers computes in float64 for checkpoints of tests/golden/model_<name>.

Writes tests/golden/gradients_<name>/: a checkpoint with the config.json of the model and, under the name of each weight, the gradient of the loss
by that weight (rounded to float32), so that it is read like a model. The loss is the cross-entropy in nats, mean over the predictions of
tokens 1 .. T-1 of every sequence. loss.json holds it, and the norm of its gradient by the states before every layer.

Command: python scripts/golden/gradients.py    (torch 2.13.0, transformers 5, safetensors; versions are stored in loss.json)
"""
import json, pathlib, shutil
import torch, transformers
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden"

for name in ("untied", "qwen2_a", "gemma2_a", "phi3_a", "granite_b"):
    source, out = ROOT / f"model_{name}", ROOT / f"gradients_{name}"
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float64, attn_implementation="eager").eval()
    ids = torch.tensor(json.loads((source / "golden.json").read_text())["ids"])
    states = []
    for layer in model.model.layers:
        layer.register_forward_pre_hook(lambda module, args, kwargs: states.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True)
    logits = model(ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    for state in states:
        state.retain_grad()
    loss.backward()
    gradients = {key: p.grad.float().contiguous() for key, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == load_file(source / "model.safetensors").keys(), name
    out.mkdir(exist_ok=True)
    shutil.copy(source / "config.json", out / "config.json")
    save_file(gradients, str(out / "model.safetensors"), metadata={"format": "pt"})
    norms = [float("%.9g" % state.grad.norm()) for state in states]
    (out / "loss.json").write_text(json.dumps({"command": "python scripts/golden/gradients.py", "torch": torch.__version__, "transformers": transformers.__version__,
                                               "loss": float("%.12g" % loss), "norms_of_states": norms}) + "\n")
    print(name, float(loss), norms)
