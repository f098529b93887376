// SPDX-License-Identifier: Apache-2.0
// Keys of config.json that Gemma 2 and 3 have and Llama has not.
#pragma once
#include "arch/arch.h"

namespace espalier::arch {

inline constexpr ConfigKeys kGemmaKeys{.activation = "hidden_activation",
                                       .activation_name = "gelu_pytorch_tanh",
                                       .other_activation = "hidden_act",
                                       .attention_softcap = "attn_logit_softcapping",
                                       .logit_softcap = "final_logit_softcapping",
                                       .query_scalar = "query_pre_attn_scalar"};

}  // namespace espalier::arch
