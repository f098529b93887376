// SPDX-License-Identifier: Apache-2.0
// tokenizer.json of a unigram model -> TokenizerData.
#include "core/error.h"
#include "text/base64.h"
#include "text/charsmap.h"
#include "text/hf_unigram.h"
#include "text/vocabulary.h"

namespace espalier::text {
namespace {

// Takes steps from the front of a list, as long as they are what is expected.
class StepReader {
 public:
  explicit StepReader(const std::vector<JsonPlace>& steps) : steps_(steps) {}
  const JsonPlace* peek() const { return at_ < steps_.size() ? &steps_[at_] : nullptr; }
  bool done() const { return peek() == nullptr; }
  bool take_type(const char* type) {
    return take(peek() != nullptr && peek()->text_or("type", "") == type);
  }
  // Replace. `kind`: String or Regex.
  bool take_replace(const char* kind, std::string_view pattern, std::string_view content) {
    if (done() || peek()->text_or("type", "") != "Replace") return false;
    const JsonPlace of = peek()->at("pattern");
    return take(of.has(kind) && of.at(kind).text() == pattern &&
                peek()->text_or("content", "") == content);
  }

 private:
  bool take(bool fits) {
    if (fits) ++at_;
    return fits;
  }
  const std::vector<JsonPlace>& steps_;
  std::size_t at_ = 0;
};

void require_done(const StepReader& reader) {
  if (reader.done()) return;
  core::fail(
      core::ErrorKind::unsupported, reader.peek()->where(), " (",
      reader.peek()->text_or("type", "?"),
      ") is not known at this place for a Unigram model; known are a Precompiled normalizer, "
      "and then WhitespaceSplit and Metaspace, or what transformers makes of a "
      "tokenizer.model");
}

void take_metaspace(const JsonPlace& step, TokenizerData& data) {
  const bool old_flag = step.flag("add_prefix_space", true);
  const std::string scheme = step.text_or("prepend_scheme", old_flag ? "always" : "never");
  ESP_CHECK(step.at("replacement").text() == kSpaceSymbol, unsupported, step.where(),
            " does not replace by U+2581");
  ESP_CHECK(scheme == "always" || scheme == "never", unsupported, step.where(),
            " has prepend_scheme '", scheme, "'; known for Unigram are always and never");
  data.add_space_prefix = scheme == "always";
}

}  // namespace

HfPipeline read_unigram_pipeline(const std::vector<JsonPlace>& normalizers,
                                 const std::vector<JsonPlace>& steps, TokenizerData& data) {
  data.kind = TokenizerKind::unigram;
  data.pre = "default";
  data.add_space_prefix = false;
  data.ignore_merges = false;
  HfPipeline out;
  StepReader normal(normalizers), split(steps);
  if (normal.take_type("Precompiled")) {
    const JsonPlace map = normalizers.front().at("precompiled_charsmap");
    std::optional<std::string> bytes = decode_base64(map.text());
    ESP_CHECK(bytes, input, map.where(), " is no base64");
    data.charsmap = *std::move(bytes);
  }
  const bool words = split.take_type("WhitespaceSplit");
  if (const JsonPlace* metaspace = split.peek(); split.take_type("Metaspace")) {
    take_metaspace(*metaspace, data);
    out.cuts_at_spaces = words || metaspace->flag("split", true);
    data.space_rule = words ? SpaceRule::metaspace_always : SpaceRule::metaspace_first;
    data.remove_extra_spaces = true;
    if (!words) {
      const JsonPlace* strip = normal.peek();
      const bool right = normal.take_type("Strip") && strip->flag("strip_right", false) &&
                         !strip->flag("strip_left", false);
      ESP_CHECK(right && normal.take_replace("Regex", " {2,}", kSpaceSymbol), unsupported,
                metaspace->where(),
                ": known for Unigram are Metaspace behind WhitespaceSplit, and behind the "
                "normalizers Strip (right) and Replace \" {2,}\" by U+2581");
    }
  } else {
    out.raw_tokens_only = true;
    if (normal.take_replace("Regex", kTrimmedSpaces, "") &&
        normal.take_replace("Regex", kSeveralSpaces, " "))
      data.remove_extra_spaces = true;
    data.add_space_prefix = !normal.done() &&
                            normal.peek()->text_or("prepend", "") == kSpaceSymbol &&
                            normal.take_type("Prepend");
    const bool replaced = normal.take_replace("String", " ", kSpaceSymbol);
    ESP_CHECK(replaced || !normal.done(), unsupported,
              "tokenizer.json: nothing replaces spaces by U+2581, which a Unigram model needs");
  }
  require_done(normal);
  require_done(split);
  return out;
}

void read_unigram_pieces(const JsonPlace& model, const HfPipeline& pipeline, TokenTable& table,
                         TokenizerData& data) {
  const JsonPlace vocab = model.at("vocab");
  const bool bytes = model.flag("byte_fallback", false);
  const auto n = static_cast<std::int64_t>(vocab.array().size());
  bool space = false;
  for (std::int64_t id = 0; id < n; ++id) {
    const JsonPlace entry = vocab.at(static_cast<std::size_t>(id));
    ESP_CHECK(entry.array().size() == 2 && entry.value()[1].is_number(), input, entry.where(),
              ": expected a piece and its score");
    const std::string& piece = entry.at(std::size_t{0}).text();
    ESP_CHECK(!piece.empty(), input, entry.where(), " has an empty piece");
    const std::size_t index = table.add(id, piece, entry.where());
    data.types[index] = bytes && byte_of_token(piece) >= 0 ? TokenType::byte : TokenType::normal;
    data.scores.push_back(entry.value()[1].get<float>());
    space = space || piece == kSpaceSymbol;
    ESP_CHECK(!pipeline.cuts_at_spaces || piece.find(kSpaceSymbol, 1) == std::string::npos,
              unsupported, entry.where(), ": piece ", shown(piece),
              " has a U+2581 inside, where the pre_tokenizer cuts, so that no text has it");
  }
  ESP_CHECK(space || !pipeline.cuts_at_spaces, unsupported, vocab.where(),
            ": there is no piece U+2581, which is needed where the pre_tokenizer cuts at spaces");
  const JsonPlace unknown = model.at("unk_id");
  const std::int64_t id = unknown.integer();
  ESP_CHECK(id >= 0 && id < n, input, unknown.where(), " is ", id, ", outside the ", n, " pieces");
  data.unk = static_cast<std::int32_t>(id);
  data.types[static_cast<std::size_t>(id)] = TokenType::unknown;
}

void require_unmapped(const JsonPlace& added, const TokenizerData& data) {
  const CharacterMap map(data.charsmap, added.where());
  const std::string& text = added.at("content").text();
  for (std::size_t i = 0; i < text.size(); ++i)
    ESP_CHECK(map.find(text, i).length == 0, unsupported, added.where(), ": token ", shown(text),
              " is looked for in normalized text, and the character map changes it");
}

}  // namespace espalier::text
