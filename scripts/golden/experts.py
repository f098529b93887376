#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/experts_*: tiny models with experts in every form in which files hold them, for tests of reading.

  apart    the directory that transformers writes of a new model: a tensor for each expert
  stacked  the directory that it writes of a model loaded from stacked tensors: all experts in one
  gguf     model.gguf, with the names of the package gguf: three dimensions
  mixed    as apart, but layer 1 has an FFN in place of experts

experts.json says how many parameters transformers counts in apart and in mixed, and how many of them one token uses. The script
checks that transformers computes the same logits from apart and from stacked.

Command: python scripts/golden/experts.py    (transformers 5.23.0, gguf 0.19.0, torch 2.13.0)
"""
import importlib.metadata, json, pathlib, shutil, tempfile
import gguf, numpy, torch, transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
SIZES = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_attention_heads=2, num_key_value_heads=1, head_dim=16, moe_intermediate_size=8,
             num_experts=5, num_experts_per_tok=2, norm_topk_prob=True, max_position_embeddings=64, num_hidden_layers=2, tie_word_embeddings=False)


def new_model(**more):
    torch.manual_seed(11)
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **more)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model


def write(model, name):
    folder = GOLDEN / f"experts_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return folder


def logits(model):
    with torch.no_grad():
        return model(torch.arange(24).reshape(2, 12)).logits


def counts(model):
    """All parameters, and those that one token uses."""
    share = model.config.num_experts_per_tok / model.config.num_experts
    every = sum(p.numel() for p in model.parameters())
    experts = sum(p.numel() for n, p in model.named_parameters() if ".experts." in n)
    return {"parameters": every, "active_parameters": every - round(experts * (1 - share))}


def write_gguf(folder, config):
    with safe_open(folder / "model.safetensors", "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    layers, experts = config.num_hidden_layers, config.num_experts
    for layer in range(layers):
        for part in ("gate_proj", "up_proj", "down_proj"):
            name = f"model.layers.{layer}.mlp.experts.%s{part}.weight"
            tensors[name % ""] = numpy.stack([tensors.pop(name % f"{e}.") for e in range(experts)])
    out = GOLDEN / "experts_gguf"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    writer = gguf.GGUFWriter(out / "model.gguf", "qwen3moe")
    writer.add_block_count(layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_expert_count(experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3MOE, layers)
    for name, values in tensors.items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


model = new_model()
apart = write(model, "apart")
with tempfile.TemporaryDirectory() as other:
    model.config.save_pretrained(other)
    save_file(model.state_dict(), pathlib.Path(other) / "model.safetensors", metadata={"format": "pt"})
    loaded = Qwen3MoeForCausalLM.from_pretrained(other)
    stacked = write(loaded, "stacked")
assert torch.equal(logits(Qwen3MoeForCausalLM.from_pretrained(apart)), logits(Qwen3MoeForCausalLM.from_pretrained(stacked)))
for folder, wanted in ((apart, "experts.0.gate_proj.weight"), (stacked, "experts.gate_up_proj")):
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert any(name.endswith(wanted) for name in file.keys()), folder
write_gguf(apart, model.config)
mixed = new_model(mlp_only_layers=[1])
write(mixed, "mixed")
record = {"command": "python scripts/golden/experts.py",
          "versions": {"transformers": transformers.__version__, "gguf": importlib.metadata.version("gguf"), "torch": torch.__version__},
          "apart": counts(model), "mixed": counts(mixed)}
(GOLDEN / "experts.json").write_text(json.dumps(record, indent=2) + "\n")
