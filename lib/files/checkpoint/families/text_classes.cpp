// SPDX-License-Identifier: Apache-2.0
// Models with other parts than text, and the classes of their text parts. The defaults are those of
// the configuration classes of transformers.
#include "checkpoint/text_classes.h"

#include <algorithm>
#include <iterator>

namespace espalier::checkpoint {
namespace {

constexpr std::string_view kWholes[] = {
    "gemma3",   "llava",      "llava_next",    "llava_next_video", "llava_onevision", "vipllava",
    "mistral3", "idefics3",   "smolvlm",       "internvl",         "fast_vlm",        "ovis2",
    "qwen2_vl", "qwen2_5_vl", "qwen3_vl",      "qwen2_audio",      "perception_lm",   "video_llava",
    "idefics2", "got_ocr2",   "janus",         "deepseek_vl",      "audioflamingo3",  "lighton_ocr",
    "voxtral",  "glmasr",     "video_llama_3", "qianfan_ocr",      "internvl_chat"};

// clang-format off
constexpr TextClass kTextClasses[] = {
    {"gemma3_text", "gemma3_text", R"({"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
      "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072})"},
    {"gemma2", "gemma2", R"({"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
      "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192})"},
    {"llama", "llama", R"({"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
      "num_attention_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-06})"},
    {"mistral", "mistral", R"({"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096,
      "rms_norm_eps": 1e-06})"},
    {"granite", "granite", R"({"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
      "num_attention_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-06})"},
    {"smollm3", "smollm3", R"({"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
      "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 32768})"},
    {"qwen2", "qwen2", R"({"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 32768})"},
    {"qwen3", "qwen3", R"({"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768})"},
    {"qwen2_vl_text", "qwen2", R"({"vocab_size": 152064, "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80,
      "num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings": 32768, "rms_norm_eps": 1e-05,
      "max_window_layers": 80, "rope_theta": 1000000.0})"},
    {"qwen2_5_vl_text", "qwen2", R"({"vocab_size": 152064, "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80,
      "num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings": 32768, "rms_norm_eps": 1e-05,
      "max_window_layers": 80, "rope_theta": 1000000.0})"},
    {"qwen3_vl_text", "qwen3", R"({"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 128000,
      "rope_theta": 500000.0})"},
};
// clang-format on

}  // namespace

bool has_text_part(std::string_view type) {
  return std::find(std::begin(kWholes), std::end(kWholes), type) != std::end(kWholes);
}

const TextClass* text_class(std::string_view type) {
  for (const TextClass& one : kTextClasses)
    if (type == one.type) return &one;
  return nullptr;
}

}  // namespace espalier::checkpoint
