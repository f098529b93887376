// SPDX-License-Identifier: Apache-2.0
// Writes GGUF. begin() serialises the header, when all tensors are known. Then the bytes stream
// through an AtomicFile. Each tensor is padded to the alignment, the last one too, because stock
// readers expect the padded total.
#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/profile.h"
#include "format/gguf.h"

namespace espalier::format {
namespace {

using core::ErrorKind;

// Stock readers hold a name in 64 bytes with its terminator.
constexpr std::size_t kMaxNameBytes = 63;

std::uint64_t padded(std::uint64_t bytes, std::uint64_t alignment) {
  return (bytes + alignment - 1) & ~(alignment - 1);
}

class Serializer {
 public:
  explicit Serializer(const std::string& path) : path_(path) {}
  const std::string& bytes() const { return out_; }

  template <typename T>
  void number(T v) {
    out_.append(reinterpret_cast<const char*>(&v), sizeof(T));
  }
  void string(std::string_view text) {
    number(static_cast<std::uint64_t>(text.size()));
    out_ += text;
  }
  void value(const std::string& key, const GgufValue& v) {
    number(static_cast<std::uint32_t>(v.type));
    switch (v.type) {
      case GgufType::u8:
        narrow<std::uint8_t>(key, get<std::uint64_t>(key, v));
        break;
      case GgufType::u16:
        narrow<std::uint16_t>(key, get<std::uint64_t>(key, v));
        break;
      case GgufType::u32:
        narrow<std::uint32_t>(key, get<std::uint64_t>(key, v));
        break;
      case GgufType::u64:
        number(get<std::uint64_t>(key, v));
        break;
      case GgufType::i8:
        narrow<std::int8_t>(key, get<std::int64_t>(key, v));
        break;
      case GgufType::i16:
        narrow<std::int16_t>(key, get<std::int64_t>(key, v));
        break;
      case GgufType::i32:
        narrow<std::int32_t>(key, get<std::int64_t>(key, v));
        break;
      case GgufType::i64:
        number(get<std::int64_t>(key, v));
        break;
      case GgufType::f32:
        number(static_cast<float>(get<double>(key, v)));
        break;
      case GgufType::f64:
        number(get<double>(key, v));
        break;
      case GgufType::boolean:
        number(static_cast<std::uint8_t>(get<bool>(key, v) ? 1 : 0));
        break;
      case GgufType::string:
        string(get<std::string>(key, v));
        break;
      case GgufType::array: {
        const auto& array = get<std::shared_ptr<const GgufArray>>(key, v);
        ESP_CHECK(array != nullptr, internal, path_, ": metadata key ", key, " is a null array");
        elements(key, *array);
        break;
      }
    }
  }

 private:
  template <typename T>
  const T& get(const std::string& key, const GgufValue& v) const {
    const T* held = std::get_if<T>(&v.value);
    ESP_CHECK(held != nullptr, internal, path_, ": metadata key ", key,
              " holds another type than its type number ", static_cast<std::uint32_t>(v.type),
              " says");
    return *held;
  }
  template <typename T, typename Wide>
  void narrow(const std::string& key, Wide v) {
    const T narrowed = static_cast<T>(v);
    ESP_CHECK(static_cast<Wide>(narrowed) == v, internal, path_, ": metadata key ", key, ": ", v,
              " does not fit its integer type");
    number(narrowed);
  }
  template <typename T>
  void integer_element(const std::string& key, double v) {
    // A double does not hold the limits of a 64-bit type exactly, but GgufArray guarantees |v| <=
    // 2^53.
    const bool fits = v >= -0x1p53 && v <= 0x1p53 &&
                      static_cast<double>(static_cast<T>(static_cast<std::int64_t>(v))) == v;
    ESP_CHECK(fits, internal, path_, ": metadata key ", key, ": element ", v,
              " does not fit its integer type");
    number(static_cast<T>(static_cast<std::int64_t>(v)));
  }
  void elements(const std::string& key, const GgufArray& array) {
    number(static_cast<std::uint32_t>(array.type));
    const bool of_strings = array.type == GgufType::string;
    ESP_CHECK((of_strings ? array.numbers.empty() : array.strings.empty()) &&
                  array.type != GgufType::array,
              internal, path_, ": metadata key ", key,
              " holds elements of another type than it says");
    number(static_cast<std::uint64_t>(of_strings ? array.strings.size() : array.numbers.size()));
    for (const std::string& text : array.strings) string(text);
    for (const double v : array.numbers) {
      switch (array.type) {
        case GgufType::u8:
          integer_element<std::uint8_t>(key, v);
          break;
        case GgufType::i8:
          integer_element<std::int8_t>(key, v);
          break;
        case GgufType::u16:
          integer_element<std::uint16_t>(key, v);
          break;
        case GgufType::i16:
          integer_element<std::int16_t>(key, v);
          break;
        case GgufType::u32:
          integer_element<std::uint32_t>(key, v);
          break;
        case GgufType::i32:
          integer_element<std::int32_t>(key, v);
          break;
        case GgufType::u64:
          integer_element<std::uint64_t>(key, v);
          break;
        case GgufType::i64:
          integer_element<std::int64_t>(key, v);
          break;
        case GgufType::f32:
          number(static_cast<float>(v));
          break;
        case GgufType::f64:
          number(v);
          break;
        case GgufType::boolean:
          number(static_cast<std::uint8_t>(v != 0.0 ? 1 : 0));
          break;
        case GgufType::string:
        case GgufType::array:
          break;  // excluded above
      }
    }
  }

  const std::string& path_;
  std::string out_;
};

}  // namespace

struct GgufWriter::State {
  std::string path;
  std::uint32_t alignment = 32;
  std::vector<std::pair<std::string, GgufValue>> metadata;
  std::vector<GgufTensor> tensors;  // offsets relative to the data
  std::unique_ptr<core::AtomicFile> file;
  std::size_t current = 0;    // index of the tensor being written
  std::uint64_t written = 0;  // bytes of that tensor written so far
  bool finished = false;

  std::uint64_t data_bytes() const {
    std::uint64_t sum = 0;
    for (const GgufTensor& tensor : tensors) sum += padded(tensor.bytes, alignment);
    return sum;
  }
  std::string header() const {
    Serializer out(path);
    for (const char c : {'G', 'G', 'U', 'F'}) out.number(c);
    out.number(std::uint32_t{3});
    out.number(static_cast<std::uint64_t>(tensors.size()));
    out.number(static_cast<std::uint64_t>(metadata.size()));
    for (const auto& [key, value] : metadata) {
      out.string(key);
      out.value(key, value);
    }
    std::uint64_t offset = 0;
    for (const GgufTensor& tensor : tensors) {
      out.string(tensor.name);
      out.number(static_cast<std::uint32_t>(tensor.ne.size()));
      for (const std::int64_t extent : tensor.ne) out.number(static_cast<std::uint64_t>(extent));
      out.number(info(tensor.format).gguf_type);
      out.number(offset);
      offset += padded(tensor.bytes, alignment);
    }
    std::string bytes = out.bytes();
    bytes.resize(static_cast<std::size_t>(padded(bytes.size(), alignment)), '\0');
    return bytes;
  }
};

GgufWriter::GgufWriter(std::string path, std::uint32_t alignment)
    : state_(std::make_unique<State>()) {
  ESP_CHECK(std::has_single_bit(alignment) && alignment >= 8 && alignment <= 65536, internal, path,
            ": alignment ", alignment, " is no power of two from 8 to 65536");
  state_->path = std::move(path);
  state_->alignment = alignment;
  if (alignment != 32) set("general.alignment", GgufValue::u32(alignment));
}
GgufWriter::~GgufWriter() = default;

void GgufWriter::set(std::string key, GgufValue value) {
  State& s = *state_;
  ESP_CHECK(s.file == nullptr, internal, s.path, ": metadata key ", key, " set after begin()");
  ESP_CHECK(!key.empty() && key.size() <= 65535, internal, s.path, ": a metadata key of ",
            key.size(), " bytes");
  if (key == "general.alignment") {
    const auto* given = std::get_if<std::uint64_t>(&value.value);
    ESP_CHECK(value.type == GgufType::u32 && given != nullptr && *given == s.alignment, internal,
              s.path, ": general.alignment differs from the alignment written, ", s.alignment);
  }
  const auto same = [&](const auto& entry) { return entry.first == key; };
  const auto found = std::find_if(s.metadata.begin(), s.metadata.end(), same);
  if (found != s.metadata.end())
    found->second = std::move(value);
  else
    s.metadata.emplace_back(std::move(key), std::move(value));
}

void GgufWriter::add_tensor(std::string name, std::vector<std::int64_t> ne, FormatId format) {
  State& s = *state_;
  ESP_CHECK(s.file == nullptr, internal, s.path, ": tensor ", name, " added after begin()");
  ESP_CHECK(!name.empty() && name.size() <= kMaxNameBytes, internal, s.path, ": tensor name '",
            name, "' must have 1 to ", kMaxNameBytes, " bytes");
  ESP_CHECK(!ne.empty() && ne.size() <= 4, internal, s.path, ": tensor ", name, " has ", ne.size(),
            " dimensions, must be 1 to 4");
  for (const GgufTensor& other : s.tensors)
    ESP_CHECK(other.name != name, internal, s.path, ": tensor ", name, " added twice");
  GgufTensor tensor{std::move(name), std::move(ne), format, 0, 0};
  for (const std::int64_t extent : tensor.ne)
    ESP_CHECK(extent >= 1, internal, s.path, ": tensor ", tensor.name, " has extent ", extent);
  try {
    tensor.bytes = static_cast<std::uint64_t>(matrix_bytes(format, tensor.rows(), tensor.cols()));
  } catch (const core::Error& e) {
    core::fail(e.kind(), s.path, ": tensor ", tensor.name, ": ", e.what());
  }
  s.tensors.push_back(std::move(tensor));
}

std::uint64_t GgufWriter::planned_bytes() const {
  return state_->header().size() + state_->data_bytes();
}

void GgufWriter::begin() {
  State& s = *state_;
  ESP_CHECK(s.file == nullptr && !s.finished, internal, s.path, ": begin() called twice");
  const std::string header = s.header();
  const std::string parent = std::filesystem::path(s.path).parent_path().string();
  core::require_free_disk(parent.empty() ? "." : parent, header.size() + s.data_bytes());
  s.file = std::make_unique<core::AtomicFile>(s.path);
  s.file->write(header);
}

void GgufWriter::write(std::span<const std::byte> bytes) {
  const core::Section section("write");
  State& s = *state_;
  ESP_CHECK(s.file != nullptr, internal, s.path, ": write() before begin()");
  if (bytes.empty()) return;
  ESP_CHECK(s.current < s.tensors.size(), internal, s.path, ": ", bytes.size(),
            " bytes written after the last tensor");
  const GgufTensor& tensor = s.tensors[s.current];
  ESP_CHECK(bytes.size() <= tensor.bytes - s.written, internal, s.path, ": tensor ", tensor.name,
            " takes ", tensor.bytes, " bytes, got ", s.written + bytes.size());
  s.file->write(bytes);
  s.written += bytes.size();
  if (s.written < tensor.bytes) return;
  const std::string padding(
      static_cast<std::size_t>(padded(tensor.bytes, s.alignment) - tensor.bytes), '\0');
  s.file->write(padding);
  ++s.current;
  s.written = 0;
}

void GgufWriter::finish() {
  State& s = *state_;
  ESP_CHECK(s.file != nullptr, internal, s.path, ": finish() before begin()");
  ESP_CHECK(s.current == s.tensors.size(), internal, s.path, ": tensor ", s.tensors[s.current].name,
            " is incomplete: ", s.written, " of ", s.tensors[s.current].bytes, " bytes");
  s.file->commit();
  s.file.reset();
  s.finished = true;
}

}  // namespace espalier::format
