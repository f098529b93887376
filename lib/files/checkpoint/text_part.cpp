// SPDX-License-Identifier: Apache-2.0
// The text part of a config, and its tensors by name.
#include "checkpoint/text_part.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoint/text_classes.h"
#include "core/error.h"
#include "format/json_input.h"

namespace espalier::checkpoint {
namespace {

using Config = nlohmann::ordered_json;

// First components of tensors of the other parts.
constexpr std::string_view kOtherParts[] = {"vision_tower",
                                            "vision_model",
                                            "visual",
                                            "multi_modal_projector",
                                            "connector",
                                            "audio_tower",
                                            "image_tower",
                                            "image_newline",
                                            "video_tower",
                                            "vision_embed_tokens",
                                            "mm_projector",
                                            "visual_embeddings_table",
                                            "aligner",
                                            "vqmodel",
                                            "projector",
                                            "generation_embeddings",
                                            "mlp1",
                                            "vision_encoder",
                                            "vision_projection",
                                            "generation_aligner",
                                            "generation_head",
                                            "perceiver"};
// What stands before the names of the text part, instead of the first component of the family.
constexpr std::string_view kTextPrefixes[] = {
    "language_model.model.", "model.language_model.model.",
    "model.language_model.", "model.text_model.",
    "language_model.",       "text_model."};

bool says_tied(const Config& config) {
  const auto tied = config.find("tie_word_embeddings");
  return tied != config.end() && *tied == true;
}

}  // namespace

std::optional<TextPart> text_part(const std::string& text, const std::string& path) {
  const Config root = format::parse_json<Config>(text, path);
  if (!root.is_object() || !root.contains("model_type") || !root["model_type"].is_string())
    return std::nullopt;
  const std::string whole = root["model_type"].get<std::string>();
  const char* const key = root.contains("llm_config") ? "llm_config" : "text_config";
  const bool nested = root.contains(key) && root[key].is_object() && !root[key].empty();
  if (!has_text_part(whole)) {
    ESP_CHECK(!nested, unsupported, path, ": model_type \"", whole, "\" has a ", key,
              ", but models of this type are not known to compute text as their "
              "text part alone does, so it is not read");
    return std::nullopt;
  }
  Config given = nested ? root[key] : root;
  if (!nested) given.erase("vision_config");
  const bool typed = nested && given.contains("model_type") && given["model_type"].is_string();
  const std::string type = typed ? given["model_type"].get<std::string>() : whole + "_text";
  const TextClass* known = text_class(type);
  ESP_CHECK(known != nullptr, unsupported, path, ": the text part of this ", whole,
            " is of model_type \"", type, "\", which is not supported");
  Config config = Config::parse(known->defaults);
  config.update(given);
  if (!given.contains("rope_theta") && given.contains("rope_parameters") &&
      given["rope_parameters"].is_object() && given["rope_parameters"].contains("rope_theta"))
    config.erase("rope_theta");
  config["model_type"] = std::string(known->family);
  config.erase("architectures");  // those of the whole
  if (says_tied(root) || says_tied(given))
    config["tie_word_embeddings"] = true;
  else if (root.contains("tie_word_embeddings"))
    config["tie_word_embeddings"] = false;
  return TextPart{.config = config.dump(2) + "\n",
                  .of = whole,
                  .says_tied = config.contains("tie_word_embeddings")};
}

std::string other_part(std::string_view tensor) {
  for (const std::string_view before : {"", "model."}) {
    if (!tensor.starts_with(before)) continue;
    const std::string_view rest = tensor.substr(before.size());
    const std::string_view component = rest.substr(0, rest.find('.'));
    for (const std::string_view part : kOtherParts)
      if (component == part) return std::string(part);
  }
  return "";
}

std::string name_in_text_part(std::string_view tensor, const std::string& first) {
  for (const std::string_view output : {"language_model.lm_head.", "model.lm_head."})
    if (tensor.starts_with(output))
      return std::string(tensor.substr(output.size() - std::string_view("lm_head.").size()));
  for (const std::string_view prefix : kTextPrefixes)
    if (tensor.starts_with(prefix)) return first + std::string(tensor.substr(prefix.size()));
  return std::string(tensor);
}

}  // namespace espalier::checkpoint
