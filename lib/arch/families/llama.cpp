// Llama 1/2/3, SmolLM2, TinyLlama: RMSNorm before each block, SwiGLU, full rotary position embedding, grouped-query attention.
// Source of names: Hugging Face LlamaForCausalLM; GGUF: general.architecture "llama".
#include "arch/arch.h"

namespace espalier::arch {
namespace {

using enum Transform;
constexpr Extent V{{{Axis::vocab}}}, H{{{Axis::hidden}}}, F{{{Axis::ffn}}};
constexpr Extent Q{{{Axis::kv_groups, Axis::q_per_kv, Axis::head_dim}}};
constexpr Extent K{{{Axis::kv_groups, Axis::head_dim}}};

// clang-format off
constexpr TensorSpec kModel[] = {
    {Role::token_embd,  "model.embed_tokens.weight", V, H},
    {Role::output_norm, "model.norm.weight",         H},
    {Role::output,      "lm_head.weight",            V, H, none, true},
};
constexpr TensorSpec kLayer[] = {
    {Role::attn_norm,   "model.layers.{L}.input_layernorm.weight",          H},
    {Role::attn_q,      "model.layers.{L}.self_attn.q_proj.weight",         Q, H, rope_permute},
    {Role::attn_k,      "model.layers.{L}.self_attn.k_proj.weight",         K, H, rope_permute},
    {Role::attn_v,      "model.layers.{L}.self_attn.v_proj.weight",         K, H},
    {Role::attn_output, "model.layers.{L}.self_attn.o_proj.weight",         H, Q},
    {Role::ffn_norm,    "model.layers.{L}.post_attention_layernorm.weight", H},
    {Role::ffn_gate,    "model.layers.{L}.mlp.gate_proj.weight",            F, H},
    {Role::ffn_up,      "model.layers.{L}.mlp.up_proj.weight",              F, H},
    {Role::ffn_down,    "model.layers.{L}.mlp.down_proj.weight",            H, F},
};
// clang-format on

}  // namespace

extern const Arch k_llama;
constexpr Arch k_llama{"llama", "llama", "LlamaForCausalLM", Norm::rms, Activation::silu, Rope::half_split, kModel, kLayer};
static_assert(sound(k_llama));

}  // namespace espalier::arch
