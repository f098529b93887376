#!/usr/bin/env python3
"""Golden values of the training-side model: tiny random Llama checkpoints and the logits transformers gives for them.

Writes tests/golden/model_<name>/ (config.json, model.safetensors, golden.json) for a tied and an untied model, both with grouped
queries and odd sizes. The logits must have a standard deviation of at least 0.8, and each negative control (another RoPE base, q rows
in another order, one MLP zeroed) must move them by more than 0.05: a test that accepts those would prove nothing.

Command: python scripts/golden/model.py    (torch 2.13.0, transformers 5, safetensors; versions are stored in golden.json)
"""
import copy, json, pathlib
import torch, transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
MODELS = {
    "tied": dict(hidden_size=36, num_attention_heads=6, num_key_value_heads=2, head_dim=6, intermediate_size=52, vocab_size=97,
                 num_hidden_layers=3, tie_word_embeddings=True, rms_norm_eps=1e-5, rope_theta=10000.0),
    "untied": dict(hidden_size=40, num_attention_heads=5, num_key_value_heads=1, head_dim=8, intermediate_size=44, vocab_size=61,
                   num_hidden_layers=2, tie_word_embeddings=False, rms_norm_eps=1e-6, rope_theta=500.0),
}


def build(settings, seed):
    config = LlamaConfig(**settings, max_position_embeddings=128, attention_bias=False, mlp_bias=False, bos_token_id=1, eos_token_id=2)
    config.dtype = "float32"
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:
                p.copy_(1 + 0.2 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * 1.4 / p.shape[1] ** 0.5)
    return config, model


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor(ids)).logits


def controls(config, model, ids):
    other_base = copy.deepcopy(config)
    if getattr(other_base, "rope_parameters", None):
        other_base.rope_parameters = dict(other_base.rope_parameters, rope_theta=config.rope_parameters["rope_theta"] * 3)
    else:
        other_base.rope_theta *= 3
    rebased = LlamaForCausalLM(other_base).float().eval()
    rebased.load_state_dict(model.state_dict())
    shuffled = copy.deepcopy(model)
    silent = copy.deepcopy(model)
    with torch.no_grad():
        q = shuffled.model.layers[0].self_attn.q_proj.weight
        q.copy_(q.flip(0))
        silent.model.layers[-1].mlp.down_proj.weight.zero_()
    return {"rope_base": logits(rebased, ids), "q_rows": logits(shuffled, ids), "zero_mlp": logits(silent, ids)}


for seed, (name, settings) in enumerate(MODELS.items(), 1):
    config, model = build(settings, seed)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, settings["vocab_size"], (2, 23), generator=generator).tolist()
    expected = logits(model, ids)
    assert expected.std() >= 0.8, expected.std()
    distances = {}
    for control, wrong in controls(config, model, ids).items():
        distances[control] = (wrong - expected).abs().max().item()
        assert distances[control] > 0.05, (control, distances)
    out = ROOT / f"model_{name}"
    out.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(out)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if not (settings["tie_word_embeddings"] and k == "lm_head.weight")}
    save_file(state, str(out / "model.safetensors"), metadata={"format": "pt"})
    rows = [[[float("%.9g" % v) for v in row] for row in batch] for batch in expected.tolist()]
    (out / "golden.json").write_text(json.dumps({
        "command": "python scripts/golden/model.py", "torch": torch.__version__, "transformers": transformers.__version__,
        "ids": ids, "logits": rows, "control_distances": distances}) + "\n")
    print(name, "std", expected.std().item(), distances)
