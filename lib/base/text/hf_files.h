// SPDX-License-Identifier: Apache-2.0
// The tokenizer files of a Hugging Face directory as texts, and what they mean. Parts: hf_pipeline
// (normalizer, pre-tokenizer and post-processor: which of ours a tokenizer.json describes),
// hf_scores (its merge list as scores), hf_read (tokenizer.json -> TokenizerData), hf_model
// (tokenizer.model -> TokenizerData), hf_config (the small files beside either) and hf_write
// (TokenizerData -> texts).
#pragma once
#include <string>

#include "text/json_place.h"
#include "text/tokenizer.h"

namespace espalier::text {

// Absent files are empty.
struct HfFiles {
  std::string directory = {};  // for messages
  std::string tokenizer_json = {};
  bool from_model = false;              // there is no tokenizer.json; the tokens are those of
  std::string tokenizer_model = {};     // a SentencePiece model, and
  std::string added_tokens = {};        // added_tokens.json
  std::string tokenizer_config = {};    // tokenizer_config.json
  std::string special_tokens_map = {};  // special_tokens_map.json
  std::string chat_template = {};       // chat_template.jinja
  std::string gguf_extra = {};  // tokenizer_gguf.json: what a GGUF says and tokenizer.json has no
                                // place for (scores, types, pre)
};
HfFiles read_hf_files(const std::string& directory);
TokenizerData parse_hf(const HfFiles& files);
// tokenizer.json (unigram: tokenizer.model), tokenizer_config.json and special_tokens_map.json made
// from the data alone.
HfFiles build_hf(const TokenizerData& data);

// Of a tokenizer.model and what the other files add to it.
TokenizerData parse_hf_model(const HfFiles& files);

// Scores of an spm tokenizer from the merge list of a tokenizer.json; tokens that the list does not
// make become unused. Refuses lists that scores cannot express. `where`: of the list.
void scores_from_merges(const std::vector<std::string>& merges, const std::string& where,
                        TokenizerData& data);
// tokenizer_config.json, special_tokens_map.json and chat_template.jinja: named tokens, BOS and
// EOS, chat template. `root`: tokenizer.json; nullptr: the tokens are from a tokenizer.model.
void read_config(const HfFiles& files, const JsonPlace* root, TokenizerData& data);
// tokenizer_gguf.json.
void apply_extra(const HfFiles& files, TokenizerData& data);

// Fills kind, pre, nfc, add_space_prefix, space_rule, ignore_merges from normalizer, pre_tokenizer
// and model; refuses by name what is not one of ours. `has_normalizer`: whether text is changed
// before added tokens flagged `normalized` are looked for.
struct HfPipeline {
  bool has_normalizer = false;
};
HfPipeline read_pipeline(const JsonPlace& root, TokenizerData& data);
// BOS and EOS ids that the post-processor puts around a text.
struct HfTemplate {
  std::optional<std::int32_t> before, after;
};
HfTemplate read_post_processor(const JsonPlace& root);

}  // namespace espalier::text
