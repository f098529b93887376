// SPDX-License-Identifier: Apache-2.0
// Writes GGUF. begin() divides the tensors into parts and serialises the headers, when all tensors
// are known. Then the bytes stream through an AtomicFile for each part. Each tensor is padded to
// the alignment, the last one too, because stock readers expect the padded total.
#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/parts.h"
#include "core/profile.h"
#include "core/units.h"
#include "format/gguf.h"
#include "format/gguf_split.h"

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
  using Metadata = std::vector<std::pair<std::string, GgufValue>>;
  // Tensors [first, end) in one file.
  struct Part {
    std::string path;
    std::size_t first = 0, end = 0;
  };

  std::string path;
  std::uint32_t alignment = 32;
  std::uint64_t part_bytes = 0;
  Metadata metadata;
  std::vector<GgufTensor> tensors;                       // offsets relative to the data
  std::vector<Part> parts;                               // once begun
  std::vector<std::unique_ptr<core::AtomicFile>> files;  // of the parts begun so far
  std::size_t current = 0;                               // index of the tensor being written
  std::uint64_t written = 0;                             // bytes of that tensor written so far
  std::uint32_t shared = 0;                              // mark()
  bool begun = false, finished = false;

  std::uint64_t data_bytes(const Part& part) const {
    std::uint64_t sum = 0;
    for (std::size_t i = part.first; i < part.end; ++i) sum += padded(tensors[i].bytes, alignment);
    return sum;
  }
  std::string header(const Metadata& keys, const Part& part) const {
    Serializer out(path);
    for (const char c : {'G', 'G', 'U', 'F'}) out.number(c);
    out.number(std::uint32_t{3});
    out.number(static_cast<std::uint64_t>(part.end - part.first));
    out.number(static_cast<std::uint64_t>(keys.size()));
    for (const auto& [key, value] : keys) {
      out.string(key);
      out.value(key, value);
    }
    std::uint64_t offset = 0;
    for (std::size_t i = part.first; i < part.end; ++i) {
      const GgufTensor& tensor = tensors[i];
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

  // The number that parts of one model share: FNV-1a of all that describes it.
  std::uint32_t mark() const {
    std::uint64_t hash = 0xCBF29CE484222325;
    for (const char c : header(metadata, {path, 0, tensors.size()}))
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
    return static_cast<std::uint32_t>(hash ^ hash >> 32);
  }
  // The keys of part `index` of `of`. The values do not change their size.
  Metadata keys(std::size_t index, std::size_t of, std::uint32_t mark) const {
    const auto u16 = [](std::size_t v) {
      return GgufValue{GgufType::u16, static_cast<std::uint64_t>(v)};
    };
    Metadata out = index == 0 ? metadata : Metadata();
    if (index > 0 && alignment != 32)
      out.emplace_back("general.alignment", GgufValue::u32(alignment));
    out.emplace_back(kSplitIndex, u16(index));
    out.emplace_back(kSplitCount, u16(of));
    out.emplace_back(kSplitTensors, GgufValue::i32(static_cast<std::int32_t>(tensors.size())));
    out.emplace_back(kSplitOf, GgufValue::u32(mark));
    return out;
  }
  std::uint64_t bytes(const Metadata& keys, const Part& part) const {
    return header(keys, part).size() + data_bytes(part);
  }
  // Bytes of a tensor's entry in a header.
  static std::uint64_t entry_bytes(const GgufTensor& tensor) {
    return 8 + tensor.name.size() + 4 + 8 * tensor.ne.size() + 4 + 8;
  }

  // As many tensors in each part as it holds, in order.
  std::vector<Part> divided() const {
    const Part whole{path, 0, tensors.size()};
    if (part_bytes == 0 || bytes(metadata, whole) <= part_bytes) return {whole};
    std::vector<Part> out;
    std::uint64_t header_bytes = header(keys(0, 2, 0), {path, 0, 0}).size(), data = 0;
    const std::uint64_t next_header = header(keys(1, 2, 0), {path, 0, 0}).size();
    require_part(header_bytes, "the metadata");
    out.push_back({path, 0, 0});
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const std::uint64_t entry = padded(entry_bytes(tensors[i]), alignment),
                          more = padded(tensors[i].bytes, alignment);
      if (header_bytes + entry + data + more > part_bytes) {
        require_part(next_header + entry + more, "tensor " + tensors[i].name);
        out.push_back({path, i, i});
        header_bytes = next_header;
        data = 0;
      }
      header_bytes += entry;
      data += more;
      out.back().end = i + 1;
    }
    ESP_CHECK(static_cast<std::int64_t>(out.size()) <= kMostParts, usage, path, ": ", out.size(),
              " parts of ", core::human_bytes(static_cast<std::int64_t>(part_bytes)),
              ", but at most ", kMostParts, " are written; choose larger parts");
    const std::optional<core::PartName> name = core::part_name(path);
    const std::string prefix = name                      ? name->prefix
                               : path.ends_with(".gguf") ? path.substr(0, path.size() - 5)
                                                         : path;
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i].path = core::part_path(prefix, static_cast<int>(i), static_cast<int>(out.size()));
    return out;
  }
  void require_part(std::uint64_t needed, const std::string& what) const {
    ESP_CHECK(needed <= part_bytes, usage, path, ": parts of ", part_bytes, " bytes cannot hold ",
              what, ", which needs ", needed, "; choose larger parts");
  }

  core::AtomicFile& file() { return *files.back(); }
  void begin_part() {
    const std::size_t index = files.size();
    const Part& part = parts[index];
    files.push_back(std::make_unique<core::AtomicFile>(part.path));
    file().write(parts.size() == 1 ? header(metadata, part)
                                   : header(keys(index, parts.size(), shared), part));
  }
  // Up to the part of the next tensor.
  void begin_parts() {
    while (files.size() < parts.size() && parts[files.size()].first <= current) begin_part();
  }
};

GgufWriter::GgufWriter(std::string path, std::uint32_t alignment, std::uint64_t part_bytes)
    : state_(std::make_unique<State>()) {
  ESP_CHECK(std::has_single_bit(alignment) && alignment >= 8 && alignment <= 65536, internal, path,
            ": alignment ", alignment, " is no power of two from 8 to 65536");
  state_->path = std::move(path);
  state_->alignment = alignment;
  state_->part_bytes = part_bytes;
  if (alignment != 32) set("general.alignment", GgufValue::u32(alignment));
}
GgufWriter::~GgufWriter() = default;

bool GgufWriter::has(std::string_view key) const {
  const auto same = [&](const auto& entry) { return entry.first == key; };
  return std::any_of(state_->metadata.begin(), state_->metadata.end(), same);
}

void GgufWriter::set(std::string key, GgufValue value) {
  State& s = *state_;
  ESP_CHECK(!s.begun, internal, s.path, ": metadata key ", key, " set after begin()");
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
  ESP_CHECK(!s.begun, internal, s.path, ": tensor ", name, " added after begin()");
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
  const State& s = *state_;
  const std::vector<State::Part> parts = s.divided();
  if (parts.size() == 1) return s.bytes(s.metadata, parts.front());
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < parts.size(); ++i)
    sum += s.bytes(s.keys(i, parts.size(), 0), parts[i]);
  return sum;
}

std::vector<std::string> GgufWriter::paths() const {
  std::vector<std::string> out;
  for (const State::Part& part : state_->divided()) out.push_back(part.path);
  return out;
}

void GgufWriter::begin() {
  State& s = *state_;
  ESP_CHECK(!s.begun, internal, s.path, ": begin() called twice");
  const std::string parent = std::filesystem::path(s.path).parent_path().string();
  core::require_free_disk(parent.empty() ? "." : parent, planned_bytes());
  s.parts = s.divided();
  if (s.parts.size() > 1) s.shared = s.mark();
  s.begun = true;
  s.begin_parts();
}

void GgufWriter::write(std::span<const std::byte> bytes) {
  const core::Section section("write");
  State& s = *state_;
  ESP_CHECK(s.begun && !s.finished, internal, s.path, ": write() before begin()");
  if (bytes.empty()) return;
  ESP_CHECK(s.current < s.tensors.size(), internal, s.path, ": ", bytes.size(),
            " bytes written after the last tensor");
  const GgufTensor& tensor = s.tensors[s.current];
  ESP_CHECK(bytes.size() <= tensor.bytes - s.written, internal, s.path, ": tensor ", tensor.name,
            " takes ", tensor.bytes, " bytes, got ", s.written + bytes.size());
  s.file().write(bytes);
  s.written += bytes.size();
  if (s.written < tensor.bytes) return;
  const std::string padding(
      static_cast<std::size_t>(padded(tensor.bytes, s.alignment) - tensor.bytes), '\0');
  s.file().write(padding);
  ++s.current;
  s.written = 0;
  s.begin_parts();
}

void GgufWriter::finish() {
  State& s = *state_;
  ESP_CHECK(s.begun && !s.finished, internal, s.path, ": finish() before begin()");
  ESP_CHECK(s.current == s.tensors.size(), internal, s.path, ": tensor ", s.tensors[s.current].name,
            " is incomplete: ", s.written, " of ", s.tensors[s.current].bytes, " bytes");
  if (s.files.size() > 1) {  // without its first part, a model of old and new parts does not open
    std::error_code ignored;
    std::filesystem::remove(s.parts.front().path, ignored);
  }
  for (auto file = s.files.rbegin(); file != s.files.rend(); ++file) (*file)->commit();
  s.files.clear();
  s.finished = true;
}

}  // namespace espalier::format
