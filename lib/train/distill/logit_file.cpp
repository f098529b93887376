// SPDX-License-Identifier: Apache-2.0
// Reads, checks and writes logit files.
#include "distill/logit_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/half.h"

namespace espalier::distill {
namespace {

static_assert(std::endian::native == std::endian::little, "logit files are little-endian");
constexpr std::string_view kMagic = "ESPLOGIT";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kFixed = 112, kDigest = 64;
constexpr std::uint32_t kMostVocab = 1u << 24, kMostSequence = 1u << 24;
constexpr float kLowest = -65504.0f;  // lowest F16 value; a probability of zero for every purpose
// F16 moves the sum of a row by at most 2^-11 of its entropy: 0.8 % for the largest vocabularies.
constexpr double kRounding = 0.02;

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
template <typename T>
T get(const std::string& bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}
std::string read(const core::FileReader& file, std::uint64_t offset, std::uint64_t n) {
  std::string out(static_cast<std::size_t>(n), '\0');
  file.read(offset, std::as_writable_bytes(std::span(out.data(), out.size())));
  return out;
}

std::string header_bytes(const LogitHeader& h) {
  std::string out(kMagic);
  for (const std::uint64_t v :
       {std::uint64_t{kVersion}, static_cast<std::uint64_t>(h.vocab),
        static_cast<std::uint64_t>(h.sequence), static_cast<std::uint64_t>(h.k),
        static_cast<std::uint64_t>(h.value_bytes), static_cast<std::uint64_t>(h.threads)})
    put(out, static_cast<std::uint32_t>(v));
  put(out, h.temperature);
  put(out, static_cast<std::uint64_t>(h.starts.size()));
  out += h.run;
  for (const std::int64_t start : h.starts) put(out, static_cast<std::uint64_t>(start));
  return out + hash::sha256(out);
}

}  // namespace

std::uint64_t LogitHeader::window_bytes() const {
  const auto T = static_cast<std::uint64_t>(sequence), n = static_cast<std::uint64_t>(k);
  return T * n * (id_bytes() + static_cast<std::uint64_t>(value_bytes)) + T * sizeof(float) +
         kDigest;
}
std::uint64_t LogitHeader::file_bytes() const {
  return kFixed + kDigest + starts.size() * (sizeof(std::uint64_t) + window_bytes());
}

LogitFileWriter::LogitFileWriter(const std::string& path, const LogitHeader& header)
    : header_(header), file_(path) {
  ESP_CHECK(header.run.size() == kDigest, internal, path, ": the identity of a run has ",
            header.run.size(), " digits");
  write(header_bytes(header));
}
void LogitFileWriter::write(const std::string& bytes) {
  sha256_.update(bytes);
  file_.write(bytes);
}

void LogitFileWriter::add(const objective::SparseLogits& logits) {
  const std::int64_t T = header_.sequence, windows = logits.ids.size(0) / T, n = T * header_.k;
  ESP_CHECK(logits.ids.size(0) == windows * T && logits.ids.size(1) == header_.k, internal,
            file_.path(), ": logits of another shape");
  const torch::Tensor all_ids = logits.ids.contiguous(),
                      all_values = logits.log_probabilities.contiguous(),
                      all_rest = logits.rest.contiguous();
  for (std::int64_t w = 0; w < windows; ++w) {
    const std::int32_t* ids = all_ids.const_data_ptr<std::int32_t>() + w * n;
    const float* values = all_values.const_data_ptr<float>() + w * n;
    std::string out;
    out.reserve(static_cast<std::size_t>(header_.window_bytes()));
    for (std::int64_t i = 0; i < n; ++i)
      header_.id_bytes() == 2 ? put(out, static_cast<std::uint16_t>(ids[i]))
                              : put(out, static_cast<std::uint32_t>(ids[i]));
    for (std::int64_t i = 0; i < n; ++i) {
      const float value = std::max(values[i], kLowest);
      header_.value_bytes == 2 ? put(out, core::float_to_half(value)) : put(out, value);
    }
    out.append(reinterpret_cast<const char*>(all_rest.const_data_ptr<float>() + w * T),
               static_cast<std::size_t>(T) * sizeof(float));
    write(out + hash::sha256(out));
    ++windows_;
  }
}

std::string LogitFileWriter::commit() {
  ESP_CHECK(windows_ == header_.starts.size(), internal, file_.path(), ": ", windows_,
            " windows of ", header_.starts.size());
  file_.commit();
  return sha256_.hex();
}

LogitFile::LogitFile(const std::string& path) : file_(path) {
  ESP_CHECK(file_.size() >= kFixed + kDigest, input, path, ": truncated: ", file_.size(),
            " bytes, the header alone has ", kFixed + kDigest);
  std::string head = read(file_, 0, kFixed);
  ESP_CHECK(head.starts_with(kMagic), input, path,
            ": offset 0: this is not a file of teacher logits");
  const auto field = [&](std::size_t offset) { return get<std::uint32_t>(head, offset); };
  ESP_CHECK(field(8) == kVersion, input, path, ": offset 8: version ", field(8),
            ", but this program reads ", kVersion);
  const std::uint32_t vocab = field(12), sequence = field(16), k = field(20),
                      value_bytes = field(24);
  ESP_CHECK(vocab >= 1 && vocab <= kMostVocab, input, path, ": offset 12: a vocabulary of ", vocab);
  ESP_CHECK(sequence >= 1 && sequence <= kMostSequence, input, path, ": offset 16: windows of ",
            sequence, " tokens");
  ESP_CHECK(k >= 1 && k <= vocab, input, path, ": offset 20: ", k,
            " tokens kept of a vocabulary of ", vocab);
  ESP_CHECK(value_bytes == 2 || value_bytes == 4, input, path, ": offset 24: log-probabilities of ",
            value_bytes, " bytes, expected 2 or 4");
  header_ = {.vocab = vocab,
             .sequence = sequence,
             .k = k,
             .value_bytes = static_cast<int>(value_bytes),
             .threads = static_cast<int>(field(28)),
             .temperature = get<double>(head, 32),
             .run = head.substr(48, kDigest),
             .starts = {}};
  ESP_CHECK(header_.threads >= 1, input, path, ": offset 28: ", field(28), " threads");
  ESP_CHECK(header_.temperature > 0 && std::isfinite(header_.temperature), input, path,
            ": offset 32: temperature ", header_.temperature);
  const auto windows = get<std::uint64_t>(head, 40),
             each = header_.window_bytes() + sizeof(std::uint64_t);
  ESP_CHECK(windows >= 1 && windows <= (file_.size() - kFixed - kDigest) / each &&
                kFixed + kDigest + windows * each == file_.size(),
            input, path, ": offset 40: ", windows, " windows of ", sequence, " tokens with ", k,
            " kept do not make ", file_.size(), " bytes: truncated or damaged");
  const std::string rest = read(file_, kFixed, windows * sizeof(std::uint64_t) + kDigest);
  head += rest.substr(0, rest.size() - kDigest);
  ESP_CHECK(rest.ends_with(hash::sha256(head)), input, path, ": offset ",
            kFixed + rest.size() - kDigest,
            ": the SHA-256 of the header does not match; the file is damaged");
  for (std::uint64_t w = 0; w < windows; ++w) {
    const auto start = get<std::uint64_t>(rest, w * sizeof(std::uint64_t));
    ESP_CHECK(start < std::uint64_t{1} << 62, input, path, ": offset ",
              kFixed + w * sizeof(std::uint64_t), ": a window that starts at token ", start);
    header_.starts.push_back(static_cast<std::int64_t>(start));
  }
}

objective::SparseLogits LogitFile::window(std::int64_t index) const {
  const std::int64_t T = header_.sequence, k = header_.k, n = T * k;
  const std::uint64_t each = header_.window_bytes(),
                      offset = header_.file_bytes() -
                               (header_.starts.size() - static_cast<std::uint64_t>(index)) * each;
  std::string bytes = read(file_, offset, each);
  const std::string digest = bytes.substr(bytes.size() - kDigest);
  bytes.resize(bytes.size() - kDigest);
  ESP_CHECK(hash::sha256(bytes) == digest, input, file_.path(), ": window ", index, " at offset ",
            offset, ": the SHA-256 does not match; the file is damaged");
  objective::SparseLogits out{torch::empty({T, k}, torch::kInt32), torch::empty({T, k}),
                              torch::empty({T})};
  auto* ids = out.ids.mutable_data_ptr<std::int32_t>();
  auto* values = out.log_probabilities.mutable_data_ptr<float>();
  auto* rest = out.rest.mutable_data_ptr<float>();
  const std::size_t values_at = static_cast<std::size_t>(n) * header_.id_bytes(),
                    value_bytes = static_cast<std::size_t>(header_.value_bytes);
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    ids[i] = header_.id_bytes() == 2 ? get<std::uint16_t>(bytes, 2 * i)
                                     : static_cast<std::int32_t>(std::min<std::uint32_t>(
                                           get<std::uint32_t>(bytes, 4 * i), kMostVocab));
    values[i] = value_bytes == 2 ? core::half_to_float(get<std::uint16_t>(bytes, values_at + 2 * i))
                                 : get<float>(bytes, values_at + 4 * i);
  }
  std::memcpy(rest, bytes.data() + values_at + static_cast<std::size_t>(n) * value_bytes,
              static_cast<std::size_t>(T) * sizeof(float));
  for (std::int64_t t = 0; t < T; ++t, ids += k, values += k) {
    double sum = 0;
    for (std::int64_t j = 0; j < k; ++j) {
      ESP_CHECK(ids[j] < header_.vocab && (j == 0 || ids[j] > ids[j - 1]), input, file_.path(),
                ": window ", index, " at offset ", offset, ": token ", t, ": id ", ids[j],
                " is outside the vocabulary of ", header_.vocab, " or not above the previous id");
      ESP_CHECK(values[j] <= 0 && std::isfinite(values[j]), input, file_.path(), ": window ", index,
                " at offset ", offset, ": token ", t, ": ", values[j], " is not a log-probability");
      sum += std::exp(static_cast<double>(values[j]));
    }
    ESP_CHECK(rest[t] >= 0 && rest[t] <= 1 && (k < header_.vocab || rest[t] == 0), input,
              file_.path(), ": window ", index, " at offset ", offset, ": token ", t, ": ", rest[t],
              " is not the mass of the ", header_.vocab - k, " other tokens");
    sum += static_cast<double>(rest[t]);
    ESP_CHECK(std::abs(sum - 1) < kRounding, input, file_.path(), ": window ", index, " at offset ",
              offset, ": token ", t, ": probabilities sum to ", sum);
    const auto shift = static_cast<float>(std::log(sum));
    for (std::int64_t j = 0; j < k; ++j) values[j] -= shift;
    rest[t] = static_cast<float>(rest[t] / sum);
  }
  return out;
}

}  // namespace espalier::distill
