// SPDX-License-Identifier: Apache-2.0
// The tokenizer files of a Hugging Face directory as texts, and their meaning. The parts are:
// - hf_pipeline: recognises normalizer, pre-tokenizer and post-processor of a tokenizer.json
// - hf_scores: turns its merge list into scores
// - hf_unigram: what a tokenizer.json of a unigram model has of its own
// - hf_read: finds the files, and tokenizer.json -> TokenizerData
// - hf_model: tokenizer.model -> TokenizerData
// - hf_bpe: vocab.json and merges.txt -> TokenizerData
// - hf_tekken: tekken.json -> TokenizerData
// - hf_added, hf_config: the small files beside them
// - hf_write: TokenizerData -> texts
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "text/json_place.h"
#include "text/token_ids.h"
#include "text/tokenizer.h"

namespace espalier::text {

// The file of the vocabulary. When there are several, the first of this list is read, as in
// transformers.
enum class HfVocabulary : std::uint8_t { tokenizer_json, sentencepiece, vocab_and_merges, tekken };

// The texts of the files. Absent files are empty.
struct HfFiles {
  std::string directory = {};  // for messages
  HfVocabulary vocabulary = HfVocabulary::tokenizer_json;
  std::string tokenizer_json = {};
  std::string tokenizer_model = {};  // a SentencePiece model
  std::string vocab_json = {}, merges_txt = {};
  std::string tekken_json = {};
  std::string added_tokens = {};        // added_tokens.json
  std::string tokenizer_config = {};    // tokenizer_config.json
  std::string special_tokens_map = {};  // special_tokens_map.json
  std::string chat_template = {};       // chat_template.jinja
  std::string old_chat_template = {};   // chat_template.json, the place that processors used
  std::string model_config = {};        // config.json; read beside vocab.json only
  NamedTemplates named_templates = {};  // additional_chat_templates/NAME.jinja
  // tokenizer_gguf.json: what a GGUF states but tokenizer.json has no place for (scores, types,
  // pre).
  std::string gguf_extra = {};
};
HfFiles read_hf_files(const std::string& directory);
TokenizerData parse_hf(const HfFiles& files);
// Makes tokenizer.json, tokenizer_config.json and special_tokens_map.json from the data alone. Of
// unigram data without a tokenizer.json, tokenizer.model.
HfFiles build_hf(const TokenizerData& data);
// Whether a tokenizer.json can say what the data are. It has no place for some user-defined pieces,
// nor for all ways in which scores can be equal.
bool has_tokenizer_json(const TokenizerData& data);

// Parse a tokenizer.model, vocab.json with merges.txt, or tekken.json, each with the additions of
// the other files.
TokenizerData parse_hf_model(const HfFiles& files);
TokenizerData parse_hf_bpe(const HfFiles& files);
TokenizerData parse_hf_tekken(const HfFiles& files);

// What added_tokens.json and tokenizer_config.json add, by id; the latter, which says more,
// outranks the former.
struct AddedToken {
  std::string content = {}, where = {};
  bool special = false, lstrip = false, rstrip = false;
  bool normalized = false;
};
std::map<std::int64_t, AddedToken> read_added_tokens(const HfFiles& files);
// Tokens that the keys *_token, additional_special_tokens and extra_special_tokens name, with the
// flags of their entries.
struct NamedToken {
  std::string content, where;
  bool lstrip = false, rstrip = false;
};
std::vector<NamedToken> named_tokens(const JsonPlace& config, const JsonPlace& map);
// Makes ordinary tokens that the small files name tokens that are searched for in a text, as
// transformers does. Tokens that the vocabulary's own file has searched for keep its flags.
void mark_named_tokens(const HfFiles& files, const JsonPlace& config, const JsonPlace& map,
                       const TokenIds& ids, TokenizerData& data);

// Derives the scores of an spm tokenizer from the merge list of a tokenizer.json. Tokens that the
// list does not make become unused. Refuses lists that scores cannot express. `where` is the place
// of the list.
void scores_from_merges(const std::vector<std::string>& merges, const std::string& where,
                        TokenizerData& data);
// Reads tokenizer_config.json, special_tokens_map.json and chat_template.jinja: named tokens, BOS
// and EOS, chat template. `root` is tokenizer.json. nullptr: the tokens come from another file.
// `defaults` applies where these files are silent.
struct HfDefaults {
  std::map<std::string, std::string> named = {};  // "bos_token" -> text; may be no token
  bool add_bos = false;
};
void read_config(const HfFiles& files, const JsonPlace* root, const HfDefaults& defaults,
                 TokenizerData& data);
// Reads tokenizer_gguf.json.
void apply_extra(const HfFiles& files, TokenizerData& data);

// Fills kind, pre, nfc, add_space_prefix, space_rule and ignore_merges from normalizer,
// pre_tokenizer and model. Refuses by name any part that is not supported. `has_normalizer`: the
// text is changed before added tokens flagged `normalized` are searched for.
struct HfPipeline {
  bool has_normalizer = false;
  // Added tokens flagged `normalized` would change how spaces are put in front of what follows.
  bool raw_tokens_only = false;
  // spm: pieces of the vocabulary that are found in the text before anything merges, and that
  // never merge (SentencePiece's user-defined pieces).
  std::vector<std::string> pieces = {};
  // unigram: no piece reaches over a space.
  bool cuts_at_spaces = false;
};
HfPipeline read_pipeline(const JsonPlace& root, TokenizerData& data);
// The ids that the post-processor puts before (BOS) and after (EOS) a text.
struct HfTemplate {
  std::optional<std::int32_t> before, after;
};
HfTemplate read_post_processor(const JsonPlace& root);

}  // namespace espalier::text
