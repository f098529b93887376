// SPDX-License-Identifier: Apache-2.0
// Opens a cache, checks it against a run, and reads its windows.
#include "distill/logit_cache.h"

#include <cstdio>
#include <filesystem>

#include "checkpoint/manifest.h"
#include "core/error.h"

namespace espalier::distill {
namespace {

void add(hash::Sha256& sha256, std::string_view text) {
  sha256.update(std::to_string(text.size()) + ":");
  sha256.update(text);
}

std::string input_of(const checkpoint::Manifest& manifest, const char* name,
                     const std::string& directory) {
  const auto it = manifest.inputs.find(name);
  ESP_CHECK(it != manifest.inputs.end(), input, directory, "/manifest.json: key \"inputs.", name,
            "\" is missing");
  return it->second;
}

}  // namespace

std::string tokenizer_sha256(const text::TokenizerData& data) {
  hash::Sha256 sha256;
  add(sha256, std::to_string(static_cast<int>(data.kind)));
  for (const std::string& token : data.tokens) add(sha256, token);
  for (const text::TokenType type : data.types)
    sha256.update(std::to_string(static_cast<int>(type)) + ",");
  for (const std::string& merge : data.merges) add(sha256, merge);
  return sha256.hex();
}
std::string token_ids_sha256(const data::Corpus& corpus) {
  hash::Sha256 sha256;
  sha256.update(std::as_bytes(std::span(corpus.tokens)));
  return sha256.hex();
}
std::string logit_file_name(std::size_t index) {
  char name[64];
  std::snprintf(name, sizeof name, "logits-%05zu.bin", index);
  return name;
}

LogitCache::LogitCache(const std::string& directory) : directory_(directory) {
  ESP_CHECK(!std::filesystem::exists(directory + "/config.json"), input, directory,
            ": is a model directory; expected teacher logits, as `espalier cache` writes them");
  ESP_CHECK(checkpoint::has_manifest(directory), input, directory,
            ": there is no manifest.json, so this is not a finished cache of teacher logits; "
            "complete it with `espalier cache --resume`");
  const checkpoint::Manifest manifest = checkpoint::read_manifest(directory);
  ESP_CHECK(manifest.stage == "cache", input, directory, "/manifest.json: stage \"", manifest.stage,
            "\", expected \"cache\"");
  teacher_ = input_of(manifest, "teacher", directory);
  text_ = input_of(manifest, "text", directory);
  tokenizer_ = input_of(manifest, "tokenizer", directory);
  token_ids_ = input_of(manifest, "token_ids", directory);
  if (const auto it = manifest.options.find(data::kWindowBos); it != manifest.options.end()) {
    ESP_CHECK(it->is_number_integer(), input, directory, "/manifest.json: key \"options.",
              data::kWindowBos, "\" is not a token id");
    bos_ = it->get<std::int64_t>();
  }
  ESP_CHECK(!manifest.outputs.empty(), input, directory,
            "/manifest.json: key \"outputs\" names no file");
  for (std::size_t f = 0; f < manifest.outputs.size(); ++f) {
    const std::string name = logit_file_name(f), path = directory + "/" + name;
    ESP_CHECK(manifest.outputs.contains(name), input, directory,
              "/manifest.json: key \"outputs\" has ", manifest.outputs.size(), " files, but no ",
              name);
    const LogitFile file(path);
    const LogitHeader& h = file.header();
    if (f == 0) {
      shape_ = h;
      shape_.starts.clear();
      offset_ = h.starts.front() % h.sequence;
    }
    ESP_CHECK(h.run == shape_.run && h.vocab == shape_.vocab && h.sequence == shape_.sequence &&
                  h.k == shape_.k && h.temperature == shape_.temperature,
              input, path, ": comes from another run than ", logit_file_name(0));
    for (std::size_t w = 0; w < h.starts.size(); ++w) {
      ESP_CHECK(h.starts[w] % h.sequence == offset_, input, path, ": window ", w,
                " starts at token ", h.starts[w], ", off the grid of ", h.sequence, " from ",
                offset_);
      ESP_CHECK(places_.emplace(h.starts[w], std::pair(f, static_cast<std::int64_t>(w))).second,
                input, path, ": window ", w, ": token ", h.starts[w], " starts a second window");
    }
    files_.push_back(path);
  }
}

void LogitCache::require(const data::Corpus& corpus, const text::TokenizerData& tokenizer,
                         std::int64_t vocab, std::int64_t sequence) const {
  ESP_CHECK(vocab == shape_.vocab, input, directory_, ": teacher logits over ", shape_.vocab,
            " tokens, but the student has ", vocab,
            ": distillation compares their distributions token by token. For a student whose "
            "vocabulary was cut, make the cache with `espalier cache --student`");
  ESP_CHECK(tokenizer_sha256(tokenizer) == tokenizer_, input, directory_,
            ": the student's tokenizer differs from the teacher's: distillation compares their "
            "distributions token by token");
  ESP_CHECK(corpus.sha256 == text_, input, directory_,
            ": these are teacher logits of another text than ", corpus.path, " (SHA-256 ", text_,
            ", but this text has ", corpus.sha256, ")");
  ESP_CHECK(token_ids_sha256(corpus) == token_ids_, input, directory_, ": ", corpus.path,
            " had other tokens for the teacher than it has with the student's tokenizer");
  const auto named = [](std::optional<std::int64_t> bos) {
    return bos ? "BOS (token " + std::to_string(*bos) + ")" : std::string("no BOS");
  };
  const std::optional<std::int64_t> wanted = corpus.bos;
  ESP_CHECK(bos_ == wanted, input, directory_, ": these are teacher logits of windows with ",
            named(bos_), " over the first token, but the student reads ", named(wanted),
            " there. Older caches have no BOS; make the cache again with `espalier cache`");
  ESP_CHECK(sequence == shape_.sequence, input, directory_,
            ": these are teacher logits of windows of ", shape_.sequence,
            " tokens, but the training has sequence ", sequence,
            "; set `sequence: ", shape_.sequence, "` in the configuration or make another cache");
}

objective::SparseLogits LogitCache::window(std::int64_t start) const {
  const auto it = places_.find(start);
  ESP_CHECK(it != places_.end(), internal, directory_, ": no window starts at token ", start);
  const LogitFile file(files_[it->second.first]);
  const auto at = static_cast<std::size_t>(it->second.second);
  ESP_CHECK(at < file.header().starts.size() && file.header().starts[at] == start &&
                file.header().run == shape_.run,
            input, files_[it->second.first], ": the file changed while it was in use");
  return file.window(it->second.second);
}

}  // namespace espalier::distill
