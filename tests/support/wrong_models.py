# SPDX-License-Identifier: Apache-2.0
"""Models that are wrong in one thing, which every judge has to see: another base of the rotary embedding (positions in another order where they
are learned), the rows of one q in another order, one MLP that adds nothing, linear scaling of positions or a factor left out where there is one."""
import copy

import torch


def scaled_bases(parameters):
    if "rope_theta" in parameters:
        return dict(parameters, rope_theta=parameters["rope_theta"] * 3)
    return {kind: dict(value, rope_theta=value["rope_theta"] * 3) for kind, value in parameters.items()}


def unscaled(parameters):
    """The same without linear scaling; None where there is none."""
    kinds = {"": parameters} if "rope_theta" in parameters else parameters
    if all(value["rope_type"] != "linear" for value in kinds.values()):
        return None
    plain = {kind: {"rope_theta": value["rope_theta"], "rope_type": "default"} if value["rope_type"] == "linear" else value for kind, value in kinds.items()}
    return plain.get("", plain)


def rows_of_q(model):
    """[rows, inputs] of the first layer, a view."""
    if model.config.model_type == "gpt2":
        return model.transformer.h[0].attn.c_attn.weight[:, :model.config.n_embd].t()
    attention = model.model.layers[0].self_attn
    if model.config.model_type == "phi3":
        return attention.qkv_proj.weight[:model.config.num_attention_heads * attention.head_dim]
    return attention.q_proj.weight


def down_of_last(model):
    if model.config.model_type == "gpt2":
        return model.transformer.h[-1].mlp.c_proj
    last = model.model.layers[-1]
    return last.shared_mlp.output_linear if hasattr(last, "shared_mlp") else last.mlp.down_proj


FACTORS = ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling")


def with_config(model, key, value):
    config = copy.deepcopy(model.config)
    setattr(config, key, value)
    other = type(model)(config).float().eval()
    other.load_state_dict(model.state_dict())
    return other


def wrong_models(model):
    """name: a transformers model that is `model` but for one thing."""
    gpt2 = model.config.model_type == "gpt2"
    shuffled, silent = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        q = rows_of_q(shuffled)
        q.copy_(q.flip(0))
        down_of_last(silent).weight.zero_()
        out = {"q_rows": shuffled, "zero_mlp": silent}
        if gpt2:
            out["positions"] = copy.deepcopy(model)
            table = out["positions"].transformer.wpe.weight
            table.copy_(table.flip(0))
            return out
    out["rope_base"] = with_config(model, "rope_parameters", scaled_bases(model.config.rope_parameters))
    plain = unscaled(model.config.rope_parameters)
    if plain is not None:
        out["rope_scaling"] = with_config(model, "rope_parameters", plain)
    for key in FACTORS:
        if hasattr(model.config, key):
            usual = model.model.layers[0].self_attn.head_dim ** -0.5 if key == "attention_multiplier" else 1.0
            out[key] = with_config(model, key, usual)
    return out
