// SPDX-License-Identifier: Apache-2.0
// Event-driven parsing of safetensors headers. Nothing is built for parts that are refused, and the
// state bounds the depth. Then come the checks that need all tensors: sizes, and tiling of the data
// without gaps or overlap.
#include "format/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/error.h"

namespace espalier::format {
namespace {

using core::ErrorKind;

constexpr std::size_t kMaxEntries = 8;

// The common part of both parsers. Every event that a derived class does not handle is refused by
// name.
class StrictSax : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit StrictSax(const std::string& path) : path_(path) {}

  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_integer(number_integer_t) override { refuse("a negative number"); }
  bool number_unsigned(number_unsigned_t) override { refuse("a number"); }
  bool number_float(number_float_t, const string_t&) override {
    refuse("a fraction, or a number too large for 64 bits");
  }
  bool string(string_t&) override { refuse("a string"); }
  bool binary(binary_t&) override { refuse("binary data"); }
  bool start_object(std::size_t) override { refuse("an object"); }
  bool start_array(std::size_t) override { refuse("an array"); }
  bool end_array() override { refuse("the end of an array"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    core::fail(ErrorKind::input, path_, ": the JSON is broken at byte ", position, ": ", e.what());
  }

 protected:
  virtual std::string place() const = 0;
  [[noreturn]] void refuse(const char* what) const {
    core::fail(ErrorKind::input, path_, ": ", place(), ": unexpected ", what);
  }

  const std::string& path_;
};

struct Entry {
  std::optional<std::string> dtype;
  std::optional<std::vector<std::uint64_t>> shape, data_offsets;
};

class HeaderSax final : public StrictSax {
 public:
  using StrictSax::StrictSax;
  std::vector<std::pair<std::string, Entry>> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(std::size_t) override {
    if (numbers_ != nullptr || depth_ >= 2 || (depth_ == 1 && name_.empty())) refuse("an object");
    if (depth_ == 1 && !in_metadata_) entries.emplace_back(name_, Entry{});
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    name_.clear();
    field_.clear();
    in_metadata_ = false;
    return true;
  }
  bool key(string_t& text) override {
    if (depth_ == 1) {
      ESP_CHECK(!text.empty(), input, path_, ": a tensor has an empty name");
      ESP_CHECK(names_.insert(text).second, input, path_, ": ", text,
                " occurs twice in the header");
      in_metadata_ = text == "__metadata__";
      name_ = text;
    } else {
      field_ = text;
      if (!in_metadata_) {
        const Entry& entry = entries.back().second;
        const bool again = (text == "dtype" && entry.dtype) || (text == "shape" && entry.shape) ||
                           (text == "data_offsets" && entry.data_offsets);
        ESP_CHECK(!again, input, path_, ": ", place(), " occurs twice");
      }
    }
    return true;
  }
  bool string(string_t& text) override {
    if (depth_ == 2 && in_metadata_) {
      ESP_CHECK(metadata.emplace(field_, text).second, input, path_, ": __metadata__ has the key ",
                field_, " twice");
    } else if (depth_ == 2 && field_ == "dtype") {
      entries.back().second.dtype = text;
    } else {
      refuse("a string");
    }
    return true;
  }
  bool start_array(std::size_t) override {
    const bool wanted = depth_ == 2 && !in_metadata_ && numbers_ == nullptr &&
                        (field_ == "shape" || field_ == "data_offsets");
    if (!wanted) refuse("an array");
    Entry& entry = entries.back().second;
    numbers_ = field_ == "shape" ? &entry.shape.emplace() : &entry.data_offsets.emplace();
    return true;
  }
  bool end_array() override {
    numbers_ = nullptr;
    return true;
  }
  bool number_unsigned(number_unsigned_t v) override {
    if (numbers_ == nullptr) refuse("a number");
    ESP_CHECK(numbers_->size() < kMaxEntries, unsupported, path_, ": ", place(), " has more than ",
              kMaxEntries, " entries");
    numbers_->push_back(v);
    return true;
  }

 protected:
  std::string place() const override {
    if (depth_ == 0) return "the header";
    if (name_.empty()) return "the header's object";
    return (in_metadata_ ? name_ : "tensor " + name_) + (field_.empty() ? "" : ", field " + field_);
  }

 private:
  int depth_ = 0;
  std::string name_, field_;
  bool in_metadata_ = false;
  std::vector<std::uint64_t>* numbers_ = nullptr;
  std::set<std::string> names_;
};

class IndexSax final : public StrictSax {
 public:
  using StrictSax::StrictSax;
  std::map<std::string, std::string> files;
  bool found = false;

  // "metadata" (total_size and anything else that writers add) is skipped, at most two levels deep.
  bool null() override { return skipping() || StrictSax::null(); }
  bool boolean(bool v) override { return skipping() || StrictSax::boolean(v); }
  bool number_integer(number_integer_t v) override {
    return skipping() || StrictSax::number_integer(v);
  }
  bool number_unsigned(number_unsigned_t v) override {
    return skipping() || StrictSax::number_unsigned(v);
  }
  bool number_float(number_float_t v, const string_t& s) override {
    return skipping() || StrictSax::number_float(v, s);
  }
  bool start_object(std::size_t) override {
    if (depth_ >= (section_ == "metadata" ? 3 : 2) || (depth_ == 1 && section_.empty()))
      refuse("an object");
    if (depth_ == 1 && section_ == "weight_map") {
      ESP_CHECK(!found, input, path_, ": weight_map occurs twice");
      found = true;
    }
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    if (depth_ <= 1) section_.clear();
    return true;
  }
  bool key(string_t& text) override {
    if (depth_ == 1) {
      ESP_CHECK(text == "metadata" || text == "weight_map", input, path_, ": unknown key ", text,
                ", expected metadata and weight_map");
      section_ = text;
    } else {
      name_ = text;
    }
    return true;
  }
  bool string(string_t& text) override {
    if (skipping()) return true;
    if (depth_ != 2) refuse("a string");
    ESP_CHECK(!text.empty() && text != "." && text != ".." && text.find('/') == std::string::npos &&
                  text.find('\0') == std::string::npos,
              input, path_, ": weight_map places tensor ", name_, " in '", text,
              "', which is not a plain file name");
    ESP_CHECK(files.emplace(name_, text).second, input, path_, ": weight_map has tensor ", name_,
              " twice");
    return true;
  }

 protected:
  std::string place() const override {
    return depth_ == 0 ? "the index" : section_.empty() ? "the index's object" : section_;
  }

 private:
  bool skipping() const { return depth_ >= 2 && section_ == "metadata"; }

  int depth_ = 0;
  std::string section_, name_;
};

template <typename Sax>
void run(const std::string& path, std::string_view json, Sax& sax) {
  try {
    nlohmann::json::sax_parse(json.begin(), json.end(), &sax);
  } catch (const nlohmann::json::exception& e) {
    core::fail(ErrorKind::input, path, ": the JSON is broken: ", e.what());
  }
}

std::optional<FormatId> dtype_format(const std::string& dtype) {
  for (const QuantFormat& f : all_formats()) {
    std::string upper(f.name);
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    if (f.is_float() && dtype == upper) return f.id;
  }
  return std::nullopt;
}

// Bytes of one value of a dtype that has whole bytes.
std::uint64_t value_bytes(const std::string& path, const std::string& name,
                          const std::string& dtype) {
  struct Width {
    std::string_view dtype;
    std::uint64_t bytes;
  };
  static constexpr Width kWidths[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
      {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},     {"I32", 4},
      {"F32", 4},  {"U64", 8}, {"I64", 8}, {"F64", 8},     {"C64", 8}};
  for (const Width& known : kWidths)
    if (dtype == known.dtype) return known.bytes;
  core::fail(ErrorKind::unsupported, path, ": tensor ", name, " has dtype ", dtype,
             ", whose size is not known; F32, F16 and BF16 are supported");
}

SafeTensor checked(const std::string& path, const std::string& name, const Entry& entry,
                   std::uint64_t data_bytes) {
  ESP_CHECK(entry.dtype && entry.shape && entry.data_offsets, input, path, ": tensor ", name,
            " lacks ",
            !entry.dtype   ? "dtype"
            : !entry.shape ? "shape"
                           : "data_offsets");
  SafeTensor tensor;
  tensor.name = name;
  tensor.stored = *entry.dtype;
  tensor.dtype = dtype_format(tensor.stored);
  std::uint64_t bytes = value_bytes(path, name, tensor.stored);
  for (const std::uint64_t extent : *entry.shape) {
    ESP_CHECK(extent <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) /
                            std::max<std::uint64_t>(bytes, 1),
              input, path, ": tensor ", name, ": its size overflows");
    bytes *= extent;
    tensor.shape.push_back(static_cast<std::int64_t>(extent));
  }
  const std::vector<std::uint64_t>& offsets = *entry.data_offsets;
  ESP_CHECK(offsets.size() == 2 && offsets[0] <= offsets[1], input, path, ": tensor ", name,
            ": data_offsets must be [begin, end] with begin <= end");
  ESP_CHECK(offsets[1] <= data_bytes, input, path, ": truncated: tensor ", name,
            " ends at data offset ", offsets[1], ", but the file has ", data_bytes,
            " bytes of data; fetch it again");
  ESP_CHECK(offsets[1] - offsets[0] == bytes, input, path, ": tensor ", name, " has ",
            offsets[1] - offsets[0], " bytes by its data_offsets, but its shape and dtype need ",
            bytes);
  tensor.offset = offsets[0];
  tensor.bytes = bytes;
  return tensor;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(const std::string& path, std::string_view json,
                                           std::uint64_t data_bytes) {
  ESP_CHECK(!json.empty() && json.front() == '{', input, path,
            ": the header does not start with '{': not a safetensors file");
  HeaderSax sax(path);
  run(path, json, sax);
  SafetensorsHeader header;
  header.metadata = std::move(sax.metadata);
  for (const auto& [name, entry] : sax.entries)
    header.tensors.push_back(checked(path, name, entry, data_bytes));
  std::vector<const SafeTensor*> order;
  order.reserve(header.tensors.size());
  for (const SafeTensor& tensor : header.tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(),
            [](const SafeTensor* a, const SafeTensor* b) {  // empty ones first
              return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
            });
  std::uint64_t end = 0;
  for (const SafeTensor* tensor : order) {
    ESP_CHECK(tensor->offset == end, input, path, ": tensor ", tensor->name,
              " begins at data offset ", tensor->offset, ", expected ", end,
              tensor->offset < end ? " (it overlaps the previous tensor)" : " (a gap)");
    end = tensor->offset + tensor->bytes;
  }
  ESP_CHECK(end == data_bytes, input, path, ": the tensors end at data offset ", end,
            ", but the file has ", data_bytes, " bytes of data");
  return header;
}

std::map<std::string, std::string> parse_safetensors_index(const std::string& path,
                                                           std::string_view json) {
  IndexSax sax(path);
  run(path, json, sax);
  ESP_CHECK(sax.found && !sax.files.empty(), input, path, ": no weight_map, or an empty one");
  return std::move(sax.files);
}

}  // namespace espalier::format
