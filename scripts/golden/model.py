#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the training-side model: tiny random checkpoints of every family and the logits transformers gives for them.

Writes tests/golden/model_<name>/ (config.json, model.safetensors, golden.json): two of each family, with grouped queries (7:1 in one), head
sizes that are not hidden / heads, odd vocabularies, tied and untied, windows shorter than the text, texts on either side of LongRoPE's
original context. The logits must have a standard
deviation of at least 0.8, and each negative control (tests/support/wrong_models.py) must move them by more
than 0.05: a test that accepts those would prove nothing.

Command: python scripts/golden/model.py [name ...]    (torch 2.13.0, transformers 5, safetensors; versions are stored in golden.json)
"""
import json, pathlib, sys
import torch, transformers
from safetensors.torch import save_file

TESTS = pathlib.Path(__file__).resolve().parents[2] / "tests"
sys.path.insert(0, str(TESTS / "support"))
from unequal_reference import Reference
from wrong_models import wrong_models

ROOT = TESTS / "golden"
A = dict(hidden_size=28, num_attention_heads=7, num_key_value_heads=1, head_dim=6, intermediate_size=36, vocab_size=61, num_hidden_layers=3,
         max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=None)
B = dict(A, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=10, intermediate_size=44, vocab_size=75, num_hidden_layers=2)
C = dict(A, hidden_size=30, num_attention_heads=6, num_key_value_heads=3, head_dim=8, intermediate_size=40, vocab_size=53, num_hidden_layers=2)
DECI = dict(architectures=["DeciLMForCausalLM"], hidden_act="silu", max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=10000.0)
OPENELM = dict(model_type="openelm", architectures=["OpenELMForCausalLM"], activation_fn_name="swish", ffn_with_glu=True, normalization_layer_name="rms_norm",
               normalize_qk_projections=True, max_context_length=128, rope_max_length=256, rope_freq_constant=10000)
DENSE = dict(num_local_experts=0, num_experts_per_tok=0, position_embedding_type="rope", mamba_n_heads=4)
GEMMA_LAYERS = dict(num_hidden_layers=7, sliding_window=7)
MODELS = {
    "tied": ("Llama", dict(A, hidden_size=36, num_attention_heads=6, num_key_value_heads=2, intermediate_size=52, vocab_size=97, tie_word_embeddings=True,
                           rms_norm_eps=1e-5, rope_theta=10000.0)),
    "untied": ("Llama", dict(A, hidden_size=40, num_attention_heads=5, head_dim=8, intermediate_size=44, num_hidden_layers=2, tie_word_embeddings=False,
                             rms_norm_eps=1e-6, rope_theta=500.0)),
    "llama_biases": ("Llama", dict(A, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "mistral_window": ("Mistral", dict(A, sliding_window=7, tie_word_embeddings=False, rms_norm_eps=1e-5)),
    "mistral_full": ("Mistral", dict(B, sliding_window=None, tie_word_embeddings=True, hidden_size=30)),
    "smollm3_a": ("SmolLM3", dict(A, num_hidden_layers=4, tie_word_embeddings=True, head_dim=None, hidden_size=42)),
    "smollm3_b": ("SmolLM3", dict(B, no_rope_layers=[0, 1], tie_word_embeddings=False, head_dim=None, hidden_size=40)),
    "qwen2_a": ("Qwen2", dict(A, tie_word_embeddings=True)),
    "qwen2_b": ("Qwen2", dict(B, tie_word_embeddings=False, use_sliding_window=True, sliding_window=6, max_window_layers=1)),
    "qwen3_a": ("Qwen3", dict(A, tie_word_embeddings=True)),
    "qwen3_b": ("Qwen3", dict(B, tie_word_embeddings=False, attention_bias=True)),
    "gemma2_a": ("Gemma2", dict(A, tie_word_embeddings=True, query_pre_attn_scalar=6, sliding_window=7, attn_logit_softcapping=2.0, final_logit_softcapping=5.0)),
    "gemma2_b": ("Gemma2", dict(B, tie_word_embeddings=True, query_pre_attn_scalar=13, sliding_window=40)),
    "gemma3_a": ("Gemma3", dict(A, tie_word_embeddings=True, query_pre_attn_scalar=6, **GEMMA_LAYERS)),
    "gemma3_b": ("Gemma3", dict(B, tie_word_embeddings=False, query_pre_attn_scalar=12, sliding_window=5, layer_types=["full_attention", "sliding_attention"])),
    "phi3_a": ("Phi3", dict(A, hidden_size=42, tie_word_embeddings=True, original_max_position_embeddings=16,
                            rope_scaling=dict(type="longrope", short_factor=[1.0, 1.1, 1.3], long_factor=[1.2, 2.5, 7.0]))),
    "phi3_b": ("Phi3", dict(B, head_dim=8, tie_word_embeddings=False, original_max_position_embeddings=64, partial_rotary_factor=0.75,
                            rope_scaling=dict(type="longrope", short_factor=[1.05, 1.4, 1.9], long_factor=[1.2, 2.5, 7.0]))),
    "phi3_window": ("Phi3", dict(A, hidden_size=42, tie_word_embeddings=False, sliding_window=7)),
    "nemotron_a": ("Nemotron", dict(A, hidden_size=56, head_dim=8, tie_word_embeddings=False)),
    "nemotron_b": ("Nemotron", dict(B, hidden_size=40, tie_word_embeddings=False, partial_rotary_factor=0.6, attention_bias=True, mlp_bias=True)),
    "gpt2_a": ("GPT2", dict(vocab_size=61, n_embd=42, n_head=7, n_layer=3, n_inner=36, n_positions=128, bos_token_id=1, eos_token_id=2,
                            tie_word_embeddings=True)),
    "gpt2_b": ("GPT2", dict(vocab_size=75, n_embd=35, n_head=5, n_layer=2, n_positions=64, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)),
    "gemma3_c": ("Gemma3", dict(A, tie_word_embeddings=True, query_pre_attn_scalar=6, rope_scaling=dict(rope_type="linear", factor=8.0), sliding_window=6,
                                layer_types=["sliding_attention", "full_attention", "full_attention"])),
    "llama_linear": ("Llama", dict(C, tie_word_embeddings=False, rope_scaling=dict(rope_type="linear", factor=4.0))),
    "mistral_c": ("Mistral", dict(C, sliding_window=None, tie_word_embeddings=False)),
    "smollm3_c": ("SmolLM3", dict(C, num_hidden_layers=4, head_dim=None, hidden_size=48, tie_word_embeddings=False)),
    "qwen2_c": ("Qwen2", dict(C, hidden_size=48, tie_word_embeddings=False)),
    "qwen3_c": ("Qwen3", dict(C, tie_word_embeddings=False)),
    "granite_a": ("Granite", dict(A, tie_word_embeddings=True, embedding_multiplier=3.0, attention_multiplier=0.9, residual_multiplier=0.4, logits_scaling=1.25)),
    "granite_b": ("Granite", dict(B, tie_word_embeddings=False, attention_bias=True, mlp_bias=True, embedding_multiplier=0.6, attention_multiplier=0.1,
                                  residual_multiplier=1.7, logits_scaling=0.625,
                                  rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32))),
    "granite4_a": ("GraniteMoeHybrid", dict(DENSE, **A, shared_intermediate_size=44, layer_types=["attention"] * 3, tie_word_embeddings=True,
                                                    embedding_multiplier=2.0, attention_multiplier=0.8, residual_multiplier=0.5, logits_scaling=1.25)),
    "granite4_b": ("GraniteMoeHybrid", dict(DENSE, **B, shared_intermediate_size=36, layer_types=["full_attention"] * 2, tie_word_embeddings=False,
                                                    attention_bias=True, embedding_multiplier=0.5, attention_multiplier=0.12, residual_multiplier=1.5, logits_scaling=0.75)),
}


def block(group, width, **keys):
    """A layer of nemotron-nas; 0: absent. `width`: a multiplier, or an int, the width itself."""
    attention = dict(n_heads_in_group=group or None, no_op=not group, replace_with_linear=False, **keys)
    ffn = dict(ffn_mult=float(width) if isinstance(width, float) else None, no_op=not width, replace_with_linear=False)
    return dict(attention=attention, ffn=dict(ffn, intermediate_size=width) if width and isinstance(width, int) else ffn)


# Families that transformers does not have, judged by tests/support/unequal_reference.py.
UNEQUAL = {
    "deci_a": dict(DECI, model_type="nemotron-nas", hidden_size=40, num_attention_heads=7, num_key_value_heads=None, head_dim=6, intermediate_size=None, vocab_size=61,
                   num_hidden_layers=6, tie_word_embeddings=True,
                   rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
                   block_configs=[block(0, 36), block(7, 0), block(1, 44), block(2, 0, num_attention_heads=4), block(0, 0), block(7, 2.0)]),
    "deci_b": dict(DECI, model_type="nemotron-nas", hidden_size=32, num_attention_heads=4, num_key_value_heads=None, head_dim=10, intermediate_size=None, vocab_size=75,
                   num_hidden_layers=3, tie_word_embeddings=False, attention_bias=True, mlp_bias=True, block_configs=[block(2, 44), block(0, 20), block(4, 0)]),
    "deci_c": dict(DECI, model_type="deci", hidden_size=48, num_attention_heads=6, num_key_value_heads_per_layer=[1, 3, 6], intermediate_size=52, vocab_size=97,
                   num_hidden_layers=3, tie_word_embeddings=False),
    "openelm_a": dict(OPENELM, model_dim=28, num_transformer_layers=3, num_query_heads=[7, 14, 4], num_kv_heads=[1, 2, 4], head_dim=6, vocab_size=61,
                      ffn_multipliers=[0.5, 1.7, 2.2], ffn_dim_divisor=4, num_gqa_groups=7, qkv_multipliers=[0.5, 1.0], share_input_output_layers=True),
    "openelm_b": dict(OPENELM, model_dim=32, num_transformer_layers=2, num_query_heads=[6, 2], num_kv_heads=[3, 1], head_dim=10, vocab_size=75,
                      ffn_multipliers=[0.97, 1.3], ffn_dim_divisor=1, num_gqa_groups=2, qkv_multipliers=[0.5, 1.0], share_input_output_layers=False),
    "openelm_c": dict(OPENELM, model_dim=36, num_transformer_layers=2, num_query_heads=[4, 6], num_kv_heads=[2, 3], head_dim=8, vocab_size=53,
                      ffn_multipliers=[0.8, 1.5], ffn_dim_divisor=8, num_gqa_groups=2, qkv_multipliers=[0.5, 1.0], share_input_output_layers=True),
}


def classes(family):
    config = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    return getattr(transformers, config), getattr(transformers, "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM")


def build(family, settings, seed):
    config_class, model_class = classes(family)
    settings = {k: v for k, v in settings.items() if not (k == "head_dim" and v is None)}
    config = config_class(**settings)
    config.dtype = "float32"
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = model_class(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:  # gains around what leaves the value alone; biases around nothing
                middle = 0.0 if name.endswith("bias") or family.startswith(("Gemma", "Nemotron")) else 1.0
                p.copy_(middle + 0.2 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * 1.4 / p.shape[0 if ".c_" in name else 1] ** 0.5)  # Conv1D is stored columns first
    return config, model


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor(ids)).logits


def as_published_first(state, config):
    """GPT-2's names without their prefix, and the mask buffers, as the files of 2019 have them."""
    out = {key.removeprefix("transformer."): value for key, value in state.items()}
    mask = torch.ones(config.n_positions, config.n_positions).tril()[None, None]
    return dict(out, **{f"h.{l}.attn.bias": mask.clone() for l in range(config.n_layer)})


def write(name, ids, expected, wrongs, save):
    assert expected.std() >= 0.8, (name, expected.std())
    distances = {}
    for control, wrong in wrongs.items():
        distances[control] = (wrong - expected).abs().max().item()
        assert distances[control] > 0.05, (name, control, distances)
    out = ROOT / f"model_{name}"
    out.mkdir(parents=True, exist_ok=True)
    save(out)
    rows = [[[float("%.9g" % v) for v in row] for row in batch] for batch in expected.tolist()]
    (out / "golden.json").write_text(json.dumps({
        "command": "python scripts/golden/model.py", "torch": torch.__version__, "transformers": transformers.__version__,
        "ids": ids, "logits": rows, "control_distances": distances}) + "\n")
    print(name, "std", expected.std().item(), distances)


def some_ids(vocab, seed):
    return torch.randint(0, vocab, (2, 23), generator=torch.Generator().manual_seed(seed)).tolist()


for seed, (name, (family, settings)) in enumerate(MODELS.items(), 1):
    if sys.argv[1:] and name not in sys.argv[1:]:
        continue
    config, model = build(family, settings, seed)
    ids = some_ids(settings["vocab_size"], seed)

    def save(out):
        model.config.save_pretrained(out)
        state = {k: v.contiguous() for k, v in model.state_dict().items() if not (settings["tie_word_embeddings"] and k == "lm_head.weight")}
        if name == "gpt2_b":
            state = as_published_first(state, config)
        save_file(state, str(out / "model.safetensors"), metadata={"format": "pt"})

    write(name, ids, logits(model, ids), {wrong: logits(other, ids) for wrong, other in wrong_models(model).items()}, save)

for seed, (name, config) in enumerate(UNEQUAL.items(), 101):
    if sys.argv[1:] and name not in sys.argv[1:]:
        continue
    torch.manual_seed(seed)
    model, ids = Reference.random(config), some_ids(config["vocab_size"], seed)
    write(name, ids, logits(model, ids), {wrong: logits(other, ids) for wrong, other in model.wrong().items()}, model.save)
