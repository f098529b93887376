# SPDX-License-Identifier: Apache-2.0
"""Models whose layers differ in size, for transformers (trust_remote_code=True): DeciLM, with layers that may lack attention or FFN, and OpenELM.

Written by espalier beside a config.json that lists the sizes of every layer. Works with transformers 4.57 to 5.24. No dropout, no windows.
"""
import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel, __version__
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast


# The cache of keys and values is an argument and a field of the output: "past_key_values", and "cache" from transformers 5.24 on.
CACHE_NAMES = ("past_key_values", "cache")
CACHE_FIELD = next(field.name for field in dataclasses.fields(CausalLMOutputWithPast) if field.name in CACHE_NAMES)


class DeciLMConfig(PretrainedConfig):
    model_type = "nemotron-nas"
    keys_to_ignore_at_inference = list(CACHE_NAMES)

    def __init__(self, rope_theta=10000.0, rope_scaling=None, rope_parameters=None, max_position_embeddings=2048, rms_norm_eps=1e-6,
                 tie_word_embeddings=False, **kwargs):
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)  # named: transformers 4 saves what is not the default of this class
        self.max_position_embeddings, self.rms_norm_eps = max_position_embeddings, rms_norm_eps
        # One dictionary with rope_theta where transformers has rope_scaling as a name of it, else two attributes: what it writes it reads again.
        parameters = dict(rope_parameters or rope_scaling or {})
        self.rope_theta = parameters.pop("rope_theta", rope_theta)
        kind = parameters.pop("rope_type", parameters.pop("type", "default"))
        if hasattr(PretrainedConfig, "rope_scaling"):
            self.rope_parameters = dict(parameters, rope_type=kind, rope_theta=self.rope_theta)
        else:
            self.rope_scaling = dict(parameters, rope_type=kind) if kind != "default" else None

    def sizes(self):
        """(query heads, key-value heads, FFN width) of each layer; 0: absent."""
        for block in self.block_configs:
            attention, ffn = block["attention"], block["ffn"]
            heads = 0 if attention["no_op"] else attention.get("num_attention_heads") or self.num_attention_heads
            groups = heads // attention["n_heads_in_group"] if heads else 0
            width = 0 if ffn["no_op"] else ffn.get("intermediate_size") or -(-int(2 * ffn["ffn_mult"] * self.hidden_size / 3) // 256) * 256
            yield heads, groups, width


class OpenELMConfig(PretrainedConfig):
    model_type = "openelm"
    keys_to_ignore_at_inference = list(CACHE_NAMES)
    attribute_map = {"hidden_size": "model_dim", "num_hidden_layers": "num_transformer_layers", "max_position_embeddings": "max_context_length"}

    def sizes(self):
        step = self.ffn_dim_divisor
        for heads, groups, multiplier in zip(self.num_query_heads, self.num_kv_heads, self.ffn_multipliers):
            wanted = multiplier * self.model_dim
            width = max(step, int(wanted + step / 2) // step * step)
            yield heads, groups, width + step if width < 0.9 * wanted else width


def value(config, name, default):
    found = getattr(config, name, None)
    return default if found is None else found


def rope_settings(config):
    """(theta, scaling) in the keys of transformers 4 or 5."""
    parameters = value(config, "rope_parameters", None) or {}
    scaling = value(config, "rope_scaling", None) or parameters
    theta = value(config, "rope_freq_constant", None) or value(config, "rope_theta", None) or parameters.get("rope_theta", 10000.0)
    return theta, dict(scaling, rope_type=scaling.get("rope_type", scaling.get("type", "default")))


def inverse_frequencies(config, head_dim, device):
    theta, scaling = rope_settings(config)
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim)
    if scaling["rope_type"] == "linear":
        return frequencies / scaling["factor"]
    if scaling["rope_type"] != "llama3":
        return frequencies
    # Whole turns in the context the model was first trained for: slow frequencies are divided, fast ones kept, the others in between.
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / scaling["factor"])


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


def rotated(x, cosine, sine):
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine


def attend(q, k, v, positions, mask, cache, slot):
    """q [batch, heads, tokens, head_dim], k and v with fewer heads; `mask` is true where a token may look."""
    cosine, sine = positions
    q, k = rotated(q, cosine, sine), rotated(k, cosine, sine)
    if cache is not None:
        k, v = cache.update(k, v, slot)
    shared = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.transpose(1, 2).flatten(2)


class DeciAttention(nn.Module):
    def __init__(self, config, heads, groups, head_dim, slot):
        super().__init__()
        bias = bool(value(config, "attention_bias", False))
        self.head_dim, self.slot = head_dim, slot
        self.q_proj = nn.Linear(config.hidden_size, heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, groups * head_dim, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, groups * head_dim, bias=bias)
        self.o_proj = nn.Linear(heads * head_dim, config.hidden_size, bias=bool(value(config, "attention_output_bias", bias)))

    def forward(self, x, positions, mask, cache):
        q, k, v = (matrix(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for matrix in (self.q_proj, self.k_proj, self.v_proj))
        return self.o_proj(attend(q, k, v, positions, mask, cache, self.slot))


class DeciMLP(nn.Module):
    def __init__(self, config, width):
        super().__init__()
        bias = bool(value(config, "mlp_bias", False))
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=bias)
        self.up_proj = nn.Linear(config.hidden_size, width, bias=bias)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DeciLayer(nn.Module):
    def __init__(self, config, sizes, head_dim, slot):
        super().__init__()
        heads, groups, width = sizes
        self.self_attn = self.mlp = None
        if heads:
            self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
            self.self_attn = DeciAttention(config, heads, groups, head_dim, slot)
        if width:
            self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
            self.mlp = DeciMLP(config, width)

    def forward(self, x, positions, mask, cache):
        if self.self_attn is not None:
            x = x + self.self_attn(self.input_layernorm(x), positions, mask, cache)
        if self.mlp is not None:
            x = x + self.mlp(self.post_attention_layernorm(x))
        return x


class OpenELMAttention(nn.Module):
    def __init__(self, config, heads, groups, head_dim, slot):
        super().__init__()
        eps = value(config, "rms_norm_eps", 1e-6)
        self.heads, self.groups, self.head_dim, self.slot = heads, groups, head_dim, slot
        self.qkv_proj = nn.Linear(config.model_dim, (heads + 2 * groups) * head_dim, bias=False)
        self.q_norm, self.k_norm = Norm(head_dim, eps), Norm(head_dim, eps)
        self.out_proj = nn.Linear(heads * head_dim, config.model_dim, bias=False)

    def forward(self, x, positions, mask, cache):
        q, k, v = self.qkv_proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2).split((self.heads, self.groups, self.groups), 1)
        return self.out_proj(attend(self.q_norm(q), self.k_norm(k), v, positions, mask, cache, self.slot))


class OpenELMFFN(nn.Module):
    def __init__(self, config, width):
        super().__init__()
        self.proj_1 = nn.Linear(config.model_dim, 2 * width, bias=False)
        self.proj_2 = nn.Linear(width, config.model_dim, bias=False)

    def forward(self, x):
        gate, up = self.proj_1(x).chunk(2, -1)
        return self.proj_2(F.silu(gate) * up)


class OpenELMLayer(nn.Module):
    def __init__(self, config, sizes, head_dim, slot):
        super().__init__()
        heads, groups, width = sizes
        eps = value(config, "rms_norm_eps", 1e-6)
        self.attn_norm, self.ffn_norm = Norm(config.model_dim, eps), Norm(config.model_dim, eps)
        self.attn = OpenELMAttention(config, heads, groups, head_dim, slot)
        self.ffn = OpenELMFFN(config, width)

    def forward(self, x, positions, mask, cache):
        x = x + self.attn(self.attn_norm(x), positions, mask, cache)
        return x + self.ffn(self.ffn_norm(x))


class Decoder(nn.Module):
    """What both families have in common; the names of the embedding differ."""

    def __init__(self, config, layer, embedding, eps, head_dim):
        super().__init__()
        self.head_dim, self.embedding = head_dim, embedding
        setattr(self, embedding, nn.Embedding(config.vocab_size, config.hidden_size))
        layers, slot = [], 0  # layers without attention have no place in the cache
        for sizes in config.sizes():
            layers.append(layer(config, sizes, head_dim, slot))
            slot += sizes[0] > 0
        self.layers = nn.ModuleList(layers)
        self.norm = Norm(config.hidden_size, eps)

    def forward(self, config, x, attention_mask, position_ids, cache):
        tokens, seen = x.shape[1], cache.get_seq_length() if cache is not None else 0
        if position_ids is None:
            position_ids = torch.arange(seen, seen + tokens, device=x.device)[None]
        angles = position_ids[..., None].double() * inverse_frequencies(config, self.head_dim, x.device)
        angles = torch.cat((angles, angles), -1)[:, None]
        positions = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        order = torch.arange(seen + tokens, device=x.device)
        mask = (order[None, :] <= order[seen:, None])[None, None]
        if attention_mask is not None:
            own = torch.eye(seen + tokens, dtype=torch.bool, device=x.device)[seen:]  # padding sees itself, so that no row is empty
            mask = (mask & attention_mask[:, None, None, :].bool()) | own
        for layer in self.layers:
            x = layer(x, positions, mask, cache)
        return self.norm(x)


# Follows from other arguments.
IMPLIED = ("cache_position",)


class CausalModel(PreTrainedModel, GenerationMixin):
    _supports_sdpa = True
    _no_split_modules = ["DeciLayer", "OpenELMLayer"]
    base_name = "model"

    @property
    def decoder(self):
        return getattr(self, self.base_name)

    def get_input_embeddings(self):
        return getattr(self.decoder, self.decoder.embedding)

    def set_input_embeddings(self, module):
        setattr(self.decoder, self.decoder.embedding, module)

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, module):
        self.lm_head = module

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=value(self.config, "initializer_range", 0.02))
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Norm):
            nn.init.ones_(module.weight)

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None, labels=None, use_cache=None, cache=None,
                logits_to_keep=0, return_dict=None, num_items_in_batch=None, **kwargs):
        # An argument that is left out changes what is computed, so those not known here are refused unless they ask for nothing.
        unknown = sorted(name for name, given in kwargs.items() if name not in IMPLIED and given is not None and given is not False)
        if unknown:
            raise TypeError(f"{type(self).__name__}.forward() of modeling_espalier.py does not know the argument {', '.join(unknown)} (transformers {__version__})")
        if cache is not None and past_key_values is not None and cache is not past_key_values:
            raise ValueError("cache and past_key_values are two names of one argument: give one of them")
        cache = past_key_values if cache is None else cache
        x = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache is None:
            use_cache = labels is None and bool(value(self.config, "use_cache", True))
        if cache is None and use_cache:
            cache = DynamicCache()
        hidden = self.decoder(self.config, x, attention_mask, position_ids, cache)
        hidden = hidden[:, slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep]
        logits = F.linear(hidden, self.get_input_embeddings().weight) if self.lm_head is None else self.lm_head(hidden)
        loss = None
        if labels is not None:
            total = num_items_in_batch is not None  # the whole batch is larger than this part of it
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum" if total else "mean")
            if total:
                loss = loss / num_items_in_batch
        output = CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE_FIELD: cache})
        return output.to_tuple() if return_dict is False else output


def head(config, tied):
    return None if tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)


class DeciLMForCausalLM(CausalModel):
    config_class = DeciLMConfig
    base_model_prefix = "model"

    def __init__(self, config):
        super().__init__(config)
        head_dim = value(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.model = Decoder(config, DeciLayer, "embed_tokens", config.rms_norm_eps, head_dim)
        self.lm_head = head(config, config.tie_word_embeddings)
        self.post_init()


class OpenELMForCausalLM(CausalModel):
    config_class = OpenELMConfig
    base_model_prefix = base_name = "transformer"

    def __init__(self, config):
        super().__init__(config)
        self.transformer = Decoder(config, OpenELMLayer, "token_embeddings", value(config, "rms_norm_eps", 1e-6), config.head_dim)
        self.lm_head = head(config, config.share_input_output_layers)
        self.post_init()
