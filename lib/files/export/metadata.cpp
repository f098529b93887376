// SPDX-License-Identifier: Apache-2.0
// Metadata and tensor list of an exported file.
#include "export/metadata.h"

#include <algorithm>
#include <map>

#include "arch/gguf_dims.h"
#include "checkpoint/stated_tokens.h"
#include "core/error.h"
#include "core/notes.h"
#include "export/stock_readers.h"
#include "plan/quant_mix.h"
#include "text/end_tokens.h"

namespace espalier::exporter {

using format::FormatId;
using format::GgufValue;

std::uint32_t file_type(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan) {
  if (const auto type = plan::k_mix_file_type(plan.name)) return *type;
  std::map<FormatId, std::int64_t> bytes;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims()))
    if (!t.is_vector)
      bytes[plan.format_of(t.spec->role, t.layer)] +=
          plan::tensor_bytes(t, plan.format_of(t.spec->role, t.layer));
  FormatId most = FormatId::f32;
  std::int64_t n = -1;
  for (const auto& [format, count] : bytes)
    if (count > n) {
      most = format;
      n = count;
    }
  return format::info(most).file_type;
}

text::TokenizerData full_vocabulary(const text::TokenizerData& data, std::int64_t vocab) {
  ESP_CHECK(static_cast<std::int64_t>(data.tokens.size()) <= vocab, input, "the tokenizer has ",
            data.tokens.size(), " tokens, the embedding only ", vocab, " rows");
  text::TokenizerData out = data;
  for (auto i = static_cast<std::int64_t>(out.tokens.size()); i < vocab; ++i) {
    out.tokens.push_back("[PAD" + std::to_string(i) + "]");
    out.types.push_back(text::TokenType::unused);
    if (!out.scores.empty()) out.scores.push_back(-1000.0f);  // merging never makes it
  }
  return out;
}

// Tokens that end a text by the files of a directory, but for EOS.
std::vector<std::int64_t> further_ends(const checkpoint::Checkpoint& source) {
  std::vector<std::int64_t> out;
  for (const std::string* file : {&source.hf_generation_config(), &source.hf_config()})
    for (const std::int64_t id : checkpoint::end_tokens_of(*file))
      if (id >= 0 && id < source.dims().vocab && id != source.tokenizer().eos &&
          std::find(out.begin(), out.end(), id) == out.end())
        out.push_back(id);
  return out;
}

// GGUF has a place for two of them beside EOS. A token with a usual name needs none.
void add_further_ends(const checkpoint::Checkpoint& source, format::GgufWriter& writer) {
  const std::vector<std::int64_t> ends = further_ends(source);
  if (source.is_gguf() || ends.empty()) return;
  const std::vector<std::string>& tokens = source.tokenizer().tokens;
  std::string list, left;
  const auto append = [](std::string& to, std::int64_t id) {
    to += (to.empty() ? "" : ", ") + std::to_string(id);
  };
  const auto take = [&](const char* key, std::int64_t id) {
    if (writer.has(key)) return false;
    writer.set(key, GgufValue::u32(static_cast<std::uint32_t>(id)));
    return true;
  };
  for (const std::int64_t id : ends) {
    append(list, id);
    if (id == ends.front() && take("tokenizer.ggml.eot_token_id", id)) continue;
    const auto i = static_cast<std::size_t>(id);
    if (i < tokens.size() && text::names_an_end(tokens[i])) continue;
    if (!take("tokenizer.ggml.eom_token_id", id)) append(left, id);
  }
  core::note(source.path() + ": config.json and generation_config.json also end a text at token " +
             list + ", beside EOS, and so does the file" +
             (left.empty() ? std::string()
                           : ", which has no key for token " + left +
                                 "; give its text to --stop of espalier-run"));
}

void declare(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan,
             const ExportOptions& options, format::GgufWriter& writer) {
  const arch::Arch& arch = source.arch();
  const arch::ModelDims& dims = source.dims();
  const arch::Arch& target = arch::gguf_family_for(arch, dims);
  ESP_CHECK(arch::gguf_dims_for(target, dims) == dims, internal, source.path(),
            ": absent blocks that stock readers want are to be filled before the export");
  checkpoint::dims_to_gguf(target, dims, writer);
  writer.set("general.type", GgufValue::string("model"));
  if (!source.name().empty())
    writer.set("general.name", GgufValue::string(name_for_readers(source, options)));
  writer.set("general.file_type", GgufValue::u32(file_type(source, plan)));
  writer.set("general.quantization_version", GgufValue::u32(2));
  require_tokenizer(source, options);
  if (!options.no_tokenizer)
    text::tokenizer_to_gguf(full_vocabulary(source.tokenizer(), dims.vocab), writer);
  writer.set("espalier.mix", GgufValue::string(plan.name));
  writer.set("espalier.rounding",
             GgufValue::string(std::string(quant::rounding_name(options.rounding))));
  if (options.imatrix != nullptr && options.rounding != quant::Rounding::nearest) {
    writer.set("espalier.imatrix.text_sha256", GgufValue::string(options.imatrix->text_sha256));
    if (options.imatrix->tokens > 0)
      writer.set("espalier.imatrix.tokens",
                 GgufValue::u64(static_cast<std::uint64_t>(options.imatrix->tokens)));
  }
  for (const auto& [key, value] : options.provenance) {
    ESP_CHECK(key.rfind("general.", 0) == 0 || key.rfind("espalier.", 0) == 0, usage,
              "provenance key ", key, " must begin with \"general.\" or \"espalier.\"");
    writer.set(key, GgufValue::string(value));
  }
  for (const auto& [key, value] : source.description())
    if (!writer.has(key) && !(options.no_tokenizer && key.starts_with("tokenizer.")))
      writer.set(key, value);
  if (!options.no_tokenizer) add_further_ends(source, writer);
  for (const arch::RopeTensor& t : arch::rope_tensors(dims))
    writer.add_tensor(arch::gguf_name(t.role, -1), {static_cast<std::int64_t>(t.values.size())},
                      FormatId::f32);
  for (const arch::TensorRef& t : arch::tensors(arch, dims)) {
    if (t.elements() == 0) continue;  // an absent block
    const FormatId format = plan.format_of(t.spec->role, t.layer);
    writer.add_tensor(arch::gguf_name(t.spec->role, t.layer), t.gguf_shape(), format);
  }
}

}  // namespace espalier::exporter
