// SPDX-License-Identifier: Apache-2.0
// Recognises what a tokenizer.json does to a text around its merges. Recognition is by structure:
// every field that would change ids is checked. Unknown parts are refused by their name in the
// file.
#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "text/hf_files.h"
#include "text/hf_unigram.h"
#include "text/pretokenizer.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

// The steps of a component: those of a Sequence (under `list_key`, not nested), a single step, or
// none.
std::vector<JsonPlace> steps_of(const JsonPlace& root, const char* component,
                                const char* list_key) {
  std::vector<JsonPlace> steps;
  if (!root.has(component)) return steps;
  const JsonPlace top = root.at(component);
  if (top.at("type").text() != "Sequence") return {top};
  const JsonPlace list = top.at(list_key);
  list.array();
  for (std::size_t i = 0; i < list.size(); ++i) steps.push_back(list.at(i));
  return steps;
}

[[noreturn]] void unsupported(const JsonPlace& step, const std::string& what) {
  core::fail(core::ErrorKind::unsupported, step.where(), " (", step.text_or("type", "?"), ") ",
             what);
}

bool is_type(const JsonPlace& step, const char* type) { return step.at("type").text() == type; }

bool replaces_space(const JsonPlace& step) {
  return is_type(step, "Replace") && step.at("pattern").has("String") &&
         step.at("pattern").at("String").text() == " " && step.at("content").text() == kSpaceSymbol;
}

void check_byte_level(const JsonPlace& step) {
  if (step.flag("add_prefix_space", true))
    unsupported(step, "adds a space before the text, which is not supported for byte-level BPE");
}

// The name of a pre_tokenizer of byte-level BPE.
std::string byte_level_name(const std::vector<JsonPlace>& steps, bool ignore_merges) {
  const JsonPlace& last = steps.back();
  check_byte_level(last);
  const bool own_regex = last.flag("use_regex", true);
  if (steps.size() == 1 && own_regex) return "gpt-2";
  if (steps.size() != 2)
    unsupported(last, "ends a pre-tokenizer of " + std::to_string(steps.size()) +
                          " steps that is not known");
  const JsonPlace& first = steps.front();
  if (is_type(first, "Digits") && own_regex) {
    if (!first.flag("individual_digits", false))
      unsupported(first, "keeps digits together; known is individual_digits = true");
    return "smollm";
  }
  if (!is_type(first, "Split") || own_regex)
    unsupported(first, "before ByteLevel is not a pre-tokenizer that is known");
  const std::string pattern = first.at("pattern").text_or("Regex", "");
  // The known patterns match all of a text. So removing the text between matches removes nothing.
  const std::string behavior = first.text_or("behavior", "");
  const bool inverted = first.flag("invert", false);
  if (!(behavior == "Isolated" && !inverted) && !(behavior == "Removed" && inverted)) {
    unsupported(first, "has behavior '" + behavior + "'" + (inverted ? ", inverted" : "") +
                           "; known are Isolated, and Removed inverted");
  }
  if (const PreSpec* spec = find_pre_spec_by_pattern(pattern, ignore_merges)) return spec->name;
  unsupported(first, "has a regular expression that is not known: " + pattern.substr(0, 200) +
                         "; known are those of " + known_pre_names());
}

HfPipeline read_byte_level(const std::vector<JsonPlace>& normalizers,
                           const std::vector<JsonPlace>& steps, TokenizerData& data) {
  data.kind = TokenizerKind::byte_bpe;
  data.add_space_prefix = false;
  for (const JsonPlace& step : normalizers) {
    if (!is_type(step, "NFC"))
      unsupported(step, "is not a normalizer known for byte-level BPE (NFC or none)");
    data.nfc = true;
  }
  data.pre = byte_level_name(steps, data.ignore_merges);
  if (data.pre == "gpt-2" && data.nfc) data.pre = "olmo";
  return {.has_normalizer = data.nfc};
}

// Puts a second U+2581 before a text that begins with one, so that Metaspace's own is never left
// out.
bool doubles_first_space(const JsonPlace& step) {
  const std::string space(kSpaceSymbol);
  return is_type(step, "Replace") && step.at("pattern").has("Regex") &&
         step.at("pattern").at("Regex").text() == "\\A" + space &&
         step.at("content").text() == space + space;
}

// The texts of a regular expression "a|b|...", in which every special character is escaped. Nothing
// for another expression.
std::vector<std::string> alternatives(const std::string& pattern) {
  std::vector<std::string> out(1);
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '|') {
      out.emplace_back();
    } else if (c == '\\') {
      const bool letter =
          i + 1 < pattern.size() && std::isalnum(static_cast<unsigned char>(pattern[i + 1])) != 0;
      if (i + 1 == pattern.size() || letter) return {};  // a class of characters
      out.back() += pattern[++i];
    } else if (std::string_view(".^$*+?{}[]()").find(c) != std::string_view::npos) {
      return {};
    } else {
      out.back() += c;
    }
  }
  for (const std::string& text : out)
    if (text.empty()) return {};
  return out;
}

// Cuts out pieces of the vocabulary, the longest first, as SentencePiece does.
std::vector<std::string> isolated_pieces(const JsonPlace& step) {
  const bool isolated = is_type(step, "Split") && step.at("pattern").has("Regex") &&
                        step.text_or("behavior", "") == "Isolated" && !step.flag("invert", false);
  if (!isolated) return {};
  std::vector<std::string> out = alternatives(step.at("pattern").at("Regex").text());
  const auto shorter = [](const std::string& a, const std::string& b) {
    return count_code_points(a) < count_code_points(b);
  };
  const bool longest_first = std::is_sorted(out.rbegin(), out.rend(), shorter);
  return longest_first ? out : std::vector<std::string>{};
}

// The space in front of a text that Metaspace adds.
void read_metaspace(const JsonPlace& step, bool doubled, TokenizerData& data) {
  const std::string scheme = step.text_or("prepend_scheme", "always");
  if (step.flag("split", true)) unsupported(step, "splits at spaces; known is split = false");
  if (step.at("replacement").text() != kSpaceSymbol)
    unsupported(step, "does not replace by U+2581");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    unsupported(step, "has prepend_scheme '" + scheme + "'");
  if (doubled && scheme != "always")
    unsupported(step,
                "has prepend_scheme '" + scheme + "' behind a normalizer that doubles U+2581");
  data.add_space_prefix = scheme != "never";
  if (scheme == "first") data.space_rule = SpaceRule::metaspace_first;
  if (scheme == "always" && !doubled) data.space_rule = SpaceRule::metaspace_always;
}

HfPipeline read_spm(const std::vector<JsonPlace>& normalizers, const std::vector<JsonPlace>& steps,
                    TokenizerData& data) {
  data.kind = TokenizerKind::spm;
  data.pre = "default";
  data.add_space_prefix = false;
  bool replaces = false, doubled = false;
  for (const JsonPlace& step : normalizers) {
    if (is_type(step, "Prepend") && step.at("prepend").text() == kSpaceSymbol &&
        !data.add_space_prefix) {
      data.add_space_prefix = true;
    } else if (replaces_space(step) && !replaces) {
      replaces = true;
    } else if (doubles_first_space(step) && replaces && !doubled && !data.add_space_prefix) {
      doubled = true;
    } else {
      unsupported(step,
                  "is not a normalizer known for SPM (Prepend U+2581, Replace space by U+2581)");
    }
  }
  const bool prepends = data.add_space_prefix;
  bool metaspace = false;
  HfPipeline out;
  for (const JsonPlace& step : steps) {
    if (is_type(step, "Metaspace") && !prepends && !metaspace && out.pieces.empty()) {
      metaspace = true;
      read_metaspace(step, doubled, data);
    } else if (is_type(step, "Split") && replaces &&
               step.at("pattern").text_or("String", "") == " ") {
      // Cuts at spaces. The normalizer has left none.
    } else if (out.pieces.empty() && !isolated_pieces(step).empty()) {
      out.pieces = isolated_pieces(step);
    } else {
      unsupported(
          step,
          "is not a pre-tokenizer known for SPM (none, or Metaspace instead of the normalizer)");
    }
  }
  ESP_CHECK(replaces || metaspace, unsupported,
            prepends ? normalizers.front().where() : std::string("tokenizer.json"),
            ": nothing replaces spaces by U+2581, which a tokenizer with byte fallback needs");
  ESP_CHECK(!doubled || metaspace, unsupported, normalizers.back().where(),
            ": doubles the first U+2581, which is known together with Metaspace only");
  if (!out.pieces.empty() && data.add_space_prefix && data.space_rule != SpaceRule::every_segment)
    unsupported(
        steps.back(),
        "isolates pieces behind a Metaspace that leaves out a space, which is not supported");
  out.has_normalizer = replaces && !metaspace;
  out.raw_tokens_only = doubled;
  return out;
}

void read_template(const JsonPlace& step, HfTemplate& out) {
  const JsonPlace single = step.at("single");
  single.array();
  bool seen_text = false;
  for (std::size_t i = 0; i < single.size(); ++i) {
    const JsonPlace part = single.at(i);
    if (part.has("Sequence")) {
      if (seen_text) unsupported(step, "repeats the text");
      seen_text = true;
      continue;
    }
    const std::string name = part.at("SpecialToken").at("id").text();
    const JsonPlace ids = step.at("special_tokens").at(name.c_str()).at("ids");
    ids.array();
    std::optional<std::int32_t>& slot = seen_text ? out.after : out.before;
    if (ids.size() != 1 || slot)
      unsupported(step, "puts more than one token before or behind the text");
    const std::int64_t id = ids.at(std::size_t{0}).integer();
    ESP_CHECK(id >= 0 && id <= INT32_MAX, input, ids.where(), "[0] is ", id,
              ", which is no token id");
    slot = static_cast<std::int32_t>(id);
  }
  if (!seen_text) unsupported(step, "leaves the text out");
}

}  // namespace

HfPipeline read_pipeline(const JsonPlace& root, TokenizerData& data) {
  const JsonPlace model = root.at("model");
  const std::string type = model.text_or("type", model.has("merges") ? "BPE" : "");
  const std::vector<JsonPlace> normalizers = steps_of(root, "normalizer", "normalizers");
  const std::vector<JsonPlace> steps = steps_of(root, "pre_tokenizer", "pretokenizers");
  if (type == "Unigram") return read_unigram_pipeline(normalizers, steps, data);
  ESP_CHECK(type == "BPE", unsupported, model.where(), ".type is '", type,
            "'; supported are BPE and Unigram");
  if (model.has("dropout")) {
    ESP_CHECK(
        model.at("dropout").value().is_number() && model.at("dropout").value().get<double>() == 0.0,
        unsupported, model.where(), ".dropout is not supported");
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ESP_CHECK(model.text_or(affix, "").empty(), unsupported, model.where(), ".", affix,
              " is not supported");
  }
  data.ignore_merges = model.flag("ignore_merges", false);
  if (!steps.empty() && is_type(steps.back(), "ByteLevel"))
    return read_byte_level(normalizers, steps, data);
  if (!model.flag("byte_fallback", false)) {
    std::string types;
    for (const JsonPlace& step : steps)
      types += (types.empty() ? "" : ", ") + step.at("type").text();
    core::fail(core::ErrorKind::unsupported, root.where(), " pre_tokenizer is [", types,
               "] and model.byte_fallback is not set; supported are pre-tokenizers that end in "
               "ByteLevel, and byte_fallback");
  }
  HfPipeline spm = read_spm(normalizers, steps, data);
  // A word that is a token is taken whole: so are the isolated pieces, and other words merge to the
  // same token.
  ESP_CHECK(!data.ignore_merges || !spm.pieces.empty(), unsupported, model.where(),
            ".ignore_merges is not supported together with byte_fallback");
  data.ignore_merges = false;
  return spm;
}

HfTemplate read_post_processor(const JsonPlace& root) {
  HfTemplate out;
  for (const JsonPlace& step : steps_of(root, "post_processor", "processors")) {
    if (is_type(step, "TemplateProcessing")) {
      read_template(step, out);
    } else if (!is_type(step, "ByteLevel")) {  // ByteLevel only moves offsets
      unsupported(step, "is not a post-processor that is known (TemplateProcessing, ByteLevel)");
    }
  }
  return out;
}

}  // namespace espalier::text
