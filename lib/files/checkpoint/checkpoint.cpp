// SPDX-License-Identifier: Apache-2.0
// Reads values. For every stored format and row order, callers get float rows in the Hugging Face
// order.
#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "arch/gguf_dims.h"
#include "checkpoint/row_windows.h"
#include "checkpoint/source.h"
#include "checkpoint/vocabulary.h"
#include "core/error.h"
#include "core/notes.h"
#include "core/profile.h"
#include "format/known_file.h"
#include "hash/sha256.h"

namespace espalier::checkpoint {
namespace {

// Rows are read, checked and decoded in windows that stay in a processor's cache. Of matrices that
// are stored columns first, the window is as large as can be.
constexpr std::int64_t kWindowBytes = std::int64_t{64} << 10,
                       kTurnedWindowBytes = std::int64_t{64} << 20;

// Where rows go: to floats, or to bytes as they are stored.
struct RowsOut {
  float* values = nullptr;
  std::byte* stored = nullptr;

  RowsOut from(std::int64_t row, const StoredTensor& t) const {
    return values != nullptr ? RowsOut{values + row * t.cols, nullptr}
                             : RowsOut{nullptr, stored + row * t.values.bytes(1, t.cols)};
  }
  void put(const StoredTensor& t, const std::byte* bytes, std::int64_t rows) const {
    if (values != nullptr)
      t.values.decode(bytes, values, rows * t.cols);
    else
      std::memcpy(stored, bytes, static_cast<std::size_t>(t.values.bytes(rows, t.cols)));
  }
};

// Error(input) for a value that is not finite, because one NaN makes every result of a model
// meaningless. `bytes` are stored values from index `first` on, of a tensor with `width` values per
// row.
void require_finite(const StoredTensor& t, const Piece& piece, std::span<const std::byte> bytes,
                    std::int64_t first, std::int64_t width) {
  const std::int64_t at = t.values.first_not_finite(bytes);
  if (at < 0) return;
  const format::QuantFormat& f = format::info(t.values.format);
  std::vector<float> block(static_cast<std::size_t>(f.block));
  const std::int64_t offset = t.values.doubles ? at * 8 : at / f.block * f.block_bytes;
  t.values.decode(bytes.data() + offset, block.data(), f.block);
  const std::int64_t index = first + at;
  const std::string column = t.is_vector ? "" : ", " + std::to_string(index % width);
  core::fail(core::ErrorKind::input, piece.file->path(), ": tensor ", piece.name, "[",
             t.is_vector ? index : index / width, column, "] is ", block.front(),
             t.values.doubles ? " as F32" : "",
             ": a model with such a weight computes nothing; repair the file, or fetch it again");
}

// Rows [begin, begin + n) of a piece of a matrix. A permuted tensor is read in whole heads, because
// the rows of a head are interleaved.
void read_matrix_rows(const StoredTensor& t, const Piece& piece, std::int64_t head_dim,
                      std::int64_t begin, std::int64_t n, const RowsOut& out) {
  const std::int64_t row_bytes = t.values.bytes(1, t.cols);
  const bool permuted = t.transform == arch::Transform::rope_permute;
  const std::int64_t unit = permuted ? head_dim : 1;
  const std::int64_t window_rows =
      std::max<std::int64_t>(1, kWindowBytes / (row_bytes * unit)) * unit;
  std::vector<std::byte> bytes;
  for (std::int64_t row = begin; row < begin + n;) {
    const std::int64_t window_begin = row / unit * unit;
    const std::int64_t needed_end = (begin + n + unit - 1) / unit * unit;
    const std::int64_t window_end = std::min(window_begin + window_rows, needed_end);
    bytes.resize(static_cast<std::size_t>((window_end - window_begin) * row_bytes));
    piece.file->read(piece.offset + static_cast<std::uint64_t>(window_begin * row_bytes), bytes);
    require_finite(t, piece, bytes, (piece.first_row + window_begin) * t.cols, t.cols);
    const std::int64_t end = std::min(window_end, begin + n);
    if (!permuted) {
      out.from(row - begin, t).put(t, bytes.data() + (row - window_begin) * row_bytes, end - row);
    } else {
      for (std::int64_t r = row; r < end; ++r)
        out.from(r - begin, t)
            .put(t,
                 bytes.data() + (arch::rope_permuted_row(r, head_dim) - window_begin) * row_bytes,
                 1);
    }
    row = end;
  }
}

// The same for a matrix stored columns first. Its format is a float format, so every value has its
// own place. Reads whole columns where most of a column is wanted, else a piece of each column.
void read_transposed_rows(const StoredTensor& t, const Piece& piece, std::int64_t begin,
                          std::int64_t n, float* out) {
  const std::int64_t value_bytes = t.values.bytes(1, 1);
  const bool pieces = n < t.rows / 8;
  const std::int64_t at = pieces ? begin : 0, width = pieces ? n : t.rows;
  const std::int64_t columns =
      pieces ? 1 : std::max<std::int64_t>(1, kTurnedWindowBytes / (width * value_bytes));
  std::vector<std::byte> bytes;
  std::vector<float> values;
  for (std::int64_t c = 0; c < t.cols; c += columns) {
    const std::int64_t m = std::min(columns, t.cols - c);
    bytes.resize(static_cast<std::size_t>(m * width * value_bytes));
    values.resize(static_cast<std::size_t>(m * width));
    piece.file->read(piece.offset + static_cast<std::uint64_t>((c * t.rows + at) * value_bytes),
                     bytes);
    require_finite(t, piece, bytes, c * t.rows + at, t.rows);
    t.values.decode(bytes.data(), values.data(), m * width);
    for (std::int64_t r = 0; r < n; ++r)
      for (std::int64_t j = 0; j < m; ++j)
        out[r * t.cols + c + j] = values[static_cast<std::size_t>(j * width + begin - at + r)];
  }
}

void read_vector(const StoredTensor& t, const Piece& piece, std::int64_t head_dim,
                 std::int64_t begin, std::int64_t n, float* out) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(t.values.bytes(1, t.rows)));
  std::vector<float> values(static_cast<std::size_t>(t.rows));
  piece.file->read(piece.offset, bytes);
  require_finite(t, piece, bytes, piece.first_row, 1);
  t.values.decode(bytes.data(), values.data(), t.rows);
  const auto stored = [&](std::int64_t i) { return values[static_cast<std::size_t>(i)]; };
  switch (t.transform) {
    case arch::Transform::transpose:  // matrices only
    case arch::Transform::none:
      std::copy_n(values.begin() + begin, n, out);
      break;
    case arch::Transform::rope_permute:
      for (std::int64_t i = 0; i < n; ++i)
        out[i] = stored(arch::rope_permuted_row(begin + i, head_dim));
      break;
    case arch::Transform::plus_one:
      for (std::int64_t i = 0; i < n; ++i) out[i] = stored(begin + i) - 1.0f;
      break;
  }
}

// Of a piece that begins at row 0.
void read_piece(const StoredTensor& t, const Piece& piece, std::int64_t head_dim,
                std::int64_t begin, std::int64_t n, const RowsOut& out) {
  if (t.is_vector)
    read_vector(t, piece, head_dim, begin, n, out.values);
  else if (t.transform == arch::Transform::transpose)
    read_transposed_rows(t, piece, begin, n, out.values);
  else
    read_matrix_rows(t, piece, head_dim, begin, n, out);
}

}  // namespace

struct Checkpoint::State {
  Source source;
  mutable std::once_flag tokenizer_once, hash_once;
  mutable text::TokenizerData tokenizer;
  mutable std::string hash;
  std::vector<std::int64_t> kept_vocabulary;  // empty: all

  // Whether its rows are tokens of which only some are kept.
  bool is_gathered(arch::Role role) const {
    return !kept_vocabulary.empty() &&
           arch::touches(arch::find_spec(*source.arch, role)->rows, arch::Axis::vocab);
  }
  // Rows in the order of the file, and rows of the tensor as it is now.
  void read_pieces(const StoredTensor& t, std::int64_t row_begin, std::int64_t n,
                   const RowsOut& out) const;
  void read(arch::Role role, int layer, std::int64_t row_begin, std::int64_t n,
            const RowsOut& out) const;

  const StoredTensor& tensor(arch::Role role, int layer) const {
    const arch::TensorSpec* spec = arch::find_spec(*source.arch, role);
    ESP_CHECK(spec != nullptr, internal, "architecture ", source.arch->name, " has no tensor ",
              arch::role_name(role));
    const auto it = source.tensors.find({role, arch::is_layer_spec(*spec) ? layer : -1});
    ESP_CHECK(it != source.tensors.end(), internal, source.path, ": no tensor ",
              arch::role_name(role), " in layer ", layer,
              source.tensors.empty() ? " (only the config was opened)" : "");
    return it->second;
  }
};

namespace {
// GGUF of either byte order, or one of the formats before it, which open_gguf() refuses by name.
bool has_model_magic(const std::string& path) {
  std::string magic(4, ' ');
  std::ifstream(path, std::ios::binary).read(magic.data(), 4);
  for (const char* known : {"GGUF", "FUGG", "lmgg", "tjgg", "fmgg", "algg"})
    if (magic == known) return true;
  return false;
}

// Every token needs a row of the embedding. A padding token that was added without one is left out,
// because no text has it.
void fit_to_rows(text::TokenizerData& data, std::int64_t rows, const std::string& path) {
  const auto n = static_cast<std::int64_t>(data.tokens.size());
  if (n <= rows) return;
  ESP_CHECK(data.pad && *data.pad == rows && n == rows + 1, input, path, ": the tokenizer has ", n,
            " tokens, the embedding only ", rows,
            " rows; the files of the tokenizer are another model's");
  core::note(path + ": the padding token " + data.tokens.back() +
             " has no row in the embedding; the model is read without it");
  data.pad.reset();
  data.tokens.pop_back();
  data.types.pop_back();
  if (!data.scores.empty()) data.scores.pop_back();
  std::erase_if(data.rules, [&](const text::AddedRule& rule) { return rule.id == rows; });
}
}  // namespace

Checkpoint::Checkpoint() : state_(std::make_unique<State>()) {}
Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;

Checkpoint Checkpoint::open(const std::string& path, bool need_tensors) {
  Checkpoint out = survey(path, need_tensors);
  arch::require_computed(out.arch(), out.dims(), path);
  return out;
}

// ORG/NAME, which is no path that anybody would write for a file that is not there.
static bool is_hub_name(const std::string& path) {
  const std::size_t slash = path.find('/');
  return slash != std::string::npos && slash > 0 && slash + 1 < path.size() &&
         path.find('/', slash + 1) == std::string::npos && path.front() != '.' &&
         !path.ends_with(".gguf") && !path.ends_with(".json") &&
         !std::filesystem::exists(path.substr(0, slash));
}

Checkpoint Checkpoint::survey(const std::string& path, bool need_tensors) {
  std::error_code unreadable;
  ESP_CHECK(
      file_exists(path), input, path, ": no such file or directory",
      is_hub_name(path) ? "; a model of a hub is fetched first, and then named by its folder" : "");
  Checkpoint checkpoint;
  if (std::filesystem::is_directory(path, unreadable)) {
    checkpoint.state_->source = open_hf_directory(path, need_tensors);
  } else if (path.ends_with(".json")) {
    ESP_CHECK(!need_tensors, input, path,
              ": this needs the weights too; give the model's directory instead of its config");
    checkpoint.state_->source = open_bare_config(path);
    const Source& source = checkpoint.state_->source;
    if (!source.part_of.empty())
      core::note(path + ": the sizes are those of the text part of this " + source.part_of);
    if (!source.quantization.empty())
      core::note(path + ": the weights are quantized (" + source.quantization +
                 "); the sizes are those of floats");
  } else {
    const bool likely = path.ends_with(".gguf") || has_model_magic(path);
    if (!likely) format::refuse_known_file(path);
    ESP_CHECK(likely, input, path,
              ": is no model; expected a Hugging Face directory, a .gguf file or a config.json");
    checkpoint.state_->source = open_gguf(path);
  }
  return checkpoint;
}

void Checkpoint::fill_absent_blocks() {
  Source& source = state_->source;
  const arch::Arch& target = arch::gguf_family_for(*source.arch, source.dims);
  const arch::ModelDims whole = arch::gguf_dims_for(target, source.dims);
  for (const arch::TensorRef& ref : arch::tensors(*source.arch, whole)) {
    if (ref.layer < 0 ||
        !arch::in_absent_block(*source.arch, ref.spec->role,
                               source.dims.layers[static_cast<std::size_t>(ref.layer)]))
      continue;
    const bool gain = ref.is_vector && !arch::weight_of(ref.spec->role);
    source.tensors[{ref.spec->role, ref.layer}] = {.rows = ref.rows,
                                                   .cols = ref.cols,
                                                   .is_vector = ref.is_vector,
                                                   .filler = gain ? 1.0f : 0.0f};
  }
  source.dims = whole;
}
bool Checkpoint::is_filler(arch::Role role, int layer) const {
  return state_->tensor(role, layer).pieces.empty();
}

const std::string& Checkpoint::path() const { return state_->source.path; }
const arch::Arch& Checkpoint::arch() const { return *state_->source.arch; }
const arch::ModelDims& Checkpoint::dims() const { return state_->source.dims; }
bool Checkpoint::is_gguf() const { return state_->source.is_gguf; }
std::uint64_t Checkpoint::file_bytes() const { return state_->source.file_bytes; }
bool Checkpoint::has_tokenizer() const { return state_->source.has_tokenizer; }
const std::string& Checkpoint::hf_config() const { return state_->source.hf_config; }
const std::string& Checkpoint::hf_generation_config() const {
  return state_->source.hf_generation_config;
}
const std::string& Checkpoint::name() const { return state_->source.name; }
const Description& Checkpoint::description() const { return state_->source.description; }
std::string Checkpoint::parent_name() const { return state_->source.is_step ? "" : name(); }

void check_vocabulary_matrices(const Checkpoint& source) {
  std::vector<float> rows;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    if (t.spec->role != arch::Role::token_embd && t.spec->role != arch::Role::output) continue;
    each_row_window(t, source.dims(), 1 << 20, [&](std::int64_t row, std::int64_t n) {
      rows.resize(static_cast<std::size_t>(n * t.cols));
      source.read_rows(t.spec->role, t.layer, row, n, rows.data());
    });
  }
}

const text::TokenizerData& Checkpoint::tokenizer() const {
  ESP_CHECK(has_tokenizer(), input, path(), ": ", text::no_tokenizer_reason(path()));
  std::call_once(state_->tokenizer_once, [this] {
    state_->tokenizer = state_->source.load_tokenizer();
    fit_to_rows(state_->tokenizer, dims().vocab, path());
  });
  return state_->tokenizer;
}

const text::TokenizerData* carried_tokenizer(const Checkpoint& source) {
  if (source.has_tokenizer()) return &source.tokenizer();
  core::note(source.path() + ": " + text::no_tokenizer_reason(source.path()) +
             "; the model made from it has none either, and quantize will ask for one");
  return nullptr;
}

format::FormatId Checkpoint::stored_format(arch::Role role, int layer) const {
  return state_->tensor(role, layer).values.format;
}

format::FormatId Checkpoint::float_format() const {
  std::optional<format::FormatId> all;
  for (const auto& [key, tensor] : state_->source.tensors) {
    if (tensor.is_vector || tensor.pieces.empty()) continue;
    if (all && *all != tensor.values.format) return format::FormatId::f32;
    all = tensor.values.format;
  }
  return all && format::info(*all).is_float() ? *all : format::FormatId::f32;
}

void Checkpoint::State::read_pieces(const StoredTensor& t, std::int64_t row_begin, std::int64_t n,
                                    const RowsOut& out) const {
  if (t.pieces.empty()) std::fill_n(out.values, n * t.cols, t.filler);
  std::int64_t first = 0;  // of the piece
  for (const Piece& piece : t.pieces) {
    const std::int64_t begin = std::max(row_begin, first),
                       end = std::min(row_begin + n, first + piece.rows);
    if (begin < end)
      read_piece(t, piece, source.dims.head_dim, begin - first, end - begin,
                 out.from(begin - row_begin, t));
    first += piece.rows;
  }
}

void Checkpoint::keep_vocabulary(std::vector<std::int64_t> keep) {
  State& s = *state_;
  if (has_tokenizer()) s.tokenizer = cut_tokenizer(tokenizer(), keep);
  s.source.dims.vocab = static_cast<std::int64_t>(keep.size());
  s.kept_vocabulary = std::move(keep);
}

void Checkpoint::State::read(arch::Role role, int layer, std::int64_t row_begin, std::int64_t n,
                             const RowsOut& out) const {
  const core::Section section("read");
  const StoredTensor& t = tensor(role, layer);
  const bool gathered = is_gathered(role);
  const std::int64_t rows = gathered ? source.dims.vocab : t.rows;
  ESP_CHECK(row_begin >= 0 && n >= 0 && row_begin <= rows && n <= rows - row_begin, internal,
            "rows ", row_begin, " + ", n, " of ", arch::role_name(role), " which has ", rows);
  if (n == 0) return;
  if (!gathered) {
    read_pieces(t, row_begin, n, out);
    return;
  }
  const std::int64_t* kept = kept_vocabulary.data() + row_begin;
  for (std::int64_t i = 0; i < n;) {
    std::int64_t run = 1;
    while (i + run < n && kept[i + run] == kept[i] + run) ++run;
    read_pieces(t, kept[i], run, out.from(i, t));
    i += run;
  }
}

void Checkpoint::read_rows(arch::Role role, int layer, std::int64_t row_begin, std::int64_t n,
                           float* out) const {
  state_->read(role, layer, row_begin, n, {.values = out});
}

bool Checkpoint::stores(arch::Role role, int layer, format::FormatId format) const {
  const StoredTensor& t = state_->tensor(role, layer);
  return !t.is_vector && !t.pieces.empty() && !t.values.doubles && t.values.format == format &&
         t.transform != arch::Transform::transpose;
}

void Checkpoint::read_stored(arch::Role role, int layer, std::int64_t row_begin, std::int64_t n,
                             std::byte* out) const {
  ESP_CHECK(stores(role, layer, stored_format(role, layer)), internal, arch::role_name(role),
            " is not stored by rows");
  state_->read(role, layer, row_begin, n, {.stored = out});
}

std::vector<float> Checkpoint::read(arch::Role role, int layer) const {
  const StoredTensor& t = state_->tensor(role, layer);
  const std::int64_t rows = state_->is_gathered(role) ? dims().vocab : t.rows;
  std::vector<float> out(static_cast<std::size_t>(rows * t.cols));
  read_rows(role, layer, 0, rows, out.data());
  return out;
}

std::string Checkpoint::sha256() const {
  std::call_once(state_->hash_once, [this] {
    const Source& source = state_->source;
    if (source.is_gguf) {
      state_->hash = hash::sha256_parts(source.path);
      return;
    }
    // Hash of the lines "name hash", so that moving a directory does not change it.
    hash::Sha256 sum;
    for (const std::string& file : source.hashed_files) {
      const std::filesystem::path path(file);
      if (path.parent_path().filename() == kTemplateFolder) {
        sum.update(kTemplateFolder);
        sum.update("/");
      }
      sum.update(path.filename().string());
      sum.update(" ");
      sum.update(hash::sha256_file(file));
      sum.update("\n");
    }
    state_->hash = sum.hex();
  });
  return state_->hash;
}

}  // namespace espalier::checkpoint
