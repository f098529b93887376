// SPDX-License-Identifier: Apache-2.0
// A cursor over the file, and its entries as statistics. Nothing is allocated for a length before
// the file is known to hold so much.
#include "quant/imatrix_dat.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/error.h"

namespace espalier::quant {
namespace {

constexpr std::int32_t kMostEntries = 1 << 20, kMostNameBytes = 256;

class Cursor {
 public:
  explicit Cursor(const core::FileReader& file) : file_(file) {}

  bool at_end() const { return at_ == file_.size(); }
  std::int32_t number(const char* what, std::int32_t least, std::int32_t most) {
    std::int32_t value = 0;
    take(std::as_writable_bytes(std::span(&value, 1)), what);
    ESP_CHECK(
        value >= least && value <= most, input, file_.path(), ": ", what, " at offset ",
        at_ - sizeof value, " is ", value, ", expected ", least, " to ", most,
        "; this is neither an imatrix in GGUF nor an imatrix.dat as llama-imatrix writes them");
    return value;
  }
  std::string text(const char* what) {
    std::string out(static_cast<std::size_t>(number(what, 0, kMostNameBytes)), ' ');
    take(std::as_writable_bytes(std::span(out.data(), out.size())), what);
    return out;
  }
  std::vector<float> floats(std::int32_t n, const std::string& what) {
    require(4 * static_cast<std::uint64_t>(n), what);
    std::vector<float> out(static_cast<std::size_t>(n));
    take(std::as_writable_bytes(std::span(out)), what);
    return out;
  }

 private:
  void require(std::uint64_t bytes, const std::string& what) const {
    ESP_CHECK(bytes <= file_.size() - at_, input, file_.path(), ": truncated: ", what, " needs ",
              bytes, " bytes at offset ", at_, ", ", file_.size() - at_,
              " are left; if this is an imatrix.dat, fetch it again");
  }
  void take(std::span<std::byte> out, const std::string& what) {
    require(out.size(), what);
    file_.read(at_, out);
    at_ += out.size();
  }

  const core::FileReader& file_;
  std::uint64_t at_ = 0;
};

}  // namespace

Imatrix read_imatrix_dat(const core::FileReader& file, const Matrices& matrices) {
  Cursor in(file);
  Imatrix out;
  const std::int32_t n = in.number("the number of entries", 1, kMostEntries);
  for (std::int32_t i = 0; i < n; ++i) {
    const std::string name = in.text("the length of a name");
    const auto found = matrices.find(name);
    ESP_CHECK(found != matrices.end(), input, file.path(), ": holds ", name,
              ", but the model has no such matrix; the imatrix is of another model");
    const std::int32_t calls = in.number("the number of calls", 0, 1 << 30),
                       cols = in.number("the number of values", 1, 1 << 30);
    const std::int64_t expected = found->second.cols;
    ESP_CHECK(cols == expected, input, file.path(), ": ", name, " has ", cols,
              " values, but the model's matrix has ", expected,
              " columns; the imatrix is of another model: calibrate this one");
    const std::vector<float> values = in.floats(cols, name);
    for (std::size_t k = 0; k < values.size(); ++k)
      ESP_CHECK(std::isfinite(values[k]) && values[k] >= 0, input, file.path(), ": ", name, "[", k,
                "] is ", values[k], ", expected finite numbers of at least 0");
    if (calls == 0) continue;
    TensorStatistics t;
    t.sum_squares.assign(values.begin(), values.end());
    t.tokens = calls;  // only their mean is meant
    ESP_CHECK(
        out.tensors.emplace(std::pair(found->second.spec->role, found->second.layer), std::move(t))
            .second,
        input, file.path(), ": holds ", name, " twice");
  }
  if (in.at_end()) return out;
  static_cast<void>(in.number("the number of chunks", 0, 1 << 30));
  if (!in.at_end()) out.dataset = in.text("the length of the name of the text");
  return out;
}

}  // namespace espalier::quant
