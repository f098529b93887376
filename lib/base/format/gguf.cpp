// SPDX-License-Identifier: Apache-2.0
// Reads GGUF: a cursor that reads ahead in windows of 1 MiB, then the metadata, then the tensor
// table. Nothing is allocated for a count before the file is known to be large enough for it. The
// whole header is limited to 128 MiB.
#include "format/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "format/gguf_types.h"
#include "format/known_file.h"

namespace espalier::format {
namespace {

using core::ErrorKind;

constexpr std::uint64_t kWindowBytes = 1 << 20;
constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{128} << 20;
constexpr std::uint64_t kMaxKeyBytes = 65535;
constexpr std::uint64_t kMaxTensorNameBytes = 64;
constexpr std::uint32_t kMaxAlignment = 65536;
constexpr std::uint32_t kMaxDims = 4;
// The smallest entry of the tensor table.
constexpr std::uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
constexpr std::uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;

static_assert(std::endian::native == std::endian::little,
              "values are copied from little-endian files");

class Cursor {
 public:
  explicit Cursor(const core::FileReader& file)
      : file_(file), limit_(std::min(file.size(), kMaxHeaderBytes)) {}

  std::uint64_t position() const { return window_begin_ + used_; }
  std::uint64_t remaining() const { return limit_ - position(); }
  template <typename T>
  T number(const std::string& what) {
    T value;
    copy(&value, sizeof(T), what);
    return value;
  }
  std::string string(const std::string& what, std::uint64_t max_bytes) {
    const std::uint64_t length = number<std::uint64_t>(what);
    require(length, what);
    ESP_CHECK(length <= max_bytes, input, file_.path(), ": ", what, " at offset ", position(),
              " is ", length, " bytes long, but at most ", max_bytes, " are accepted");
    std::string text(static_cast<std::size_t>(length), '\0');
    copy(text.data(), text.size(), what);
    return text;
  }
  void require(std::uint64_t bytes, const std::string& what) const {
    if (bytes <= remaining()) return;
    if (limit_ < file_.size())
      core::fail(ErrorKind::input, file_.path(), ": the header exceeds ", kMaxHeaderBytes,
                 " bytes, at ", what);
    core::fail(ErrorKind::input, file_.path(), ": truncated: ", what, " needs ", bytes,
               " bytes at offset ", position(), ", ", remaining(), " are left");
  }

 private:
  void copy(void* out, std::size_t bytes, const std::string& what) {
    require(bytes, what);
    char* target = static_cast<char*>(out);
    while (bytes > 0) {
      if (used_ == window_.size()) refill();
      const std::size_t n = std::min(bytes, window_.size() - used_);
      std::memcpy(target, window_.data() + used_, n);
      used_ += n;
      target += n;
      bytes -= n;
    }
  }
  void refill() {
    window_begin_ += used_;
    used_ = 0;
    window_.resize(static_cast<std::size_t>(std::min(kWindowBytes, limit_ - window_begin_)));
    file_.read(window_begin_, window_);
  }

  const core::FileReader& file_;
  std::uint64_t limit_;
  std::uint64_t window_begin_ = 0;
  std::vector<std::byte> window_;
  std::size_t used_ = 0;
};

// Names appear in messages and become map keys, so they may not be empty or contain control bytes.
void check_name(const std::string& path, const std::string& name, const char* what,
                std::uint64_t offset) {
  ESP_CHECK(!name.empty(), input, path, ": empty ", what, " before offset ", offset);
  for (const char c : name)
    ESP_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F, input, path, ": ", what,
              " before offset ", offset, " contains a control byte");
}

constexpr std::array<std::uint8_t, 13> kTypeBytes = {
    1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};  // 8: the length of an empty string

GgufType read_type(Cursor& in, const std::string& path, const std::string& what) {
  const auto type = in.number<std::uint32_t>("the type of " + what);
  ESP_CHECK(type < kGgufTypeNames.size(), unsupported, path, ": ", what,
            " has the unknown value type ", type);
  return static_cast<GgufType>(type);
}

bool read_boolean(Cursor& in, const std::string& path, const std::string& what) {
  const auto byte = in.number<std::uint8_t>(what);
  ESP_CHECK(byte <= 1, input, path, ": ", what, " is a bool of value ", static_cast<int>(byte),
            ", must be 0 or 1");
  return byte == 1;
}

template <typename T>
double exact_double(Cursor& in, const std::string& path, const std::string& what) {
  const T value = in.number<T>(what);
  if constexpr (sizeof(T) == 8 && std::is_integral_v<T>) {
    constexpr std::int64_t kLimit = std::int64_t{1} << 53;
    bool fits = value <= static_cast<T>(kLimit);
    if constexpr (std::is_signed_v<T>) fits = fits && value >= -kLimit;
    ESP_CHECK(fits, unsupported, path, ": ", what, " holds ", value,
              ", but integers in arrays are supported only up to 2^53");
  }
  return static_cast<double>(value);
}

// An element of an array that holds neither strings nor arrays.
double read_number(Cursor& in, GgufType type, const std::string& path, const std::string& what) {
  switch (type) {
    case GgufType::u8:
      return exact_double<std::uint8_t>(in, path, what);
    case GgufType::i8:
      return exact_double<std::int8_t>(in, path, what);
    case GgufType::u16:
      return exact_double<std::uint16_t>(in, path, what);
    case GgufType::i16:
      return exact_double<std::int16_t>(in, path, what);
    case GgufType::u32:
      return exact_double<std::uint32_t>(in, path, what);
    case GgufType::i32:
      return exact_double<std::int32_t>(in, path, what);
    case GgufType::f32:
      return exact_double<float>(in, path, what);
    case GgufType::boolean:
      return read_boolean(in, path, what) ? 1.0 : 0.0;
    case GgufType::u64:
      return exact_double<std::uint64_t>(in, path, what);
    case GgufType::i64:
      return exact_double<std::int64_t>(in, path, what);
    case GgufType::f64:
      return exact_double<double>(in, path, what);
    case GgufType::string:
    case GgufType::array:
      break;
  }
  return 0;
}

std::shared_ptr<const GgufArray> read_array(Cursor& in, const std::string& path,
                                            const std::string& what) {
  auto array = std::make_shared<GgufArray>();
  array->type = read_type(in, path, "the elements of " + what);
  ESP_CHECK(array->type != GgufType::array, unsupported, path, ": ", what,
            " is an array of arrays");
  const auto count = in.number<std::uint64_t>(what);
  const std::uint64_t element_bytes = kTypeBytes[static_cast<std::size_t>(array->type)];
  ESP_CHECK(count <= in.remaining() / element_bytes, input, path, ": ", what, " claims ", count,
            " elements of type ", type_name(array->type), " at offset ", in.position(),
            ", but the file is too small for them");
  if (array->type == GgufType::string) {
    for (std::uint64_t i = 0; i < count; ++i)
      array->strings.push_back(in.string(what, kMaxHeaderBytes));
    return array;
  }
  array->numbers.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t i = 0; i < count; ++i)
    array->numbers.push_back(read_number(in, array->type, path, what));
  return array;
}

GgufValue read_value(Cursor& in, const std::string& path, const std::string& what) {
  GgufValue result;
  result.type = read_type(in, path, what);
  switch (result.type) {
    case GgufType::u8:
      result.value = std::uint64_t{in.number<std::uint8_t>(what)};
      break;
    case GgufType::u16:
      result.value = std::uint64_t{in.number<std::uint16_t>(what)};
      break;
    case GgufType::u32:
      result.value = std::uint64_t{in.number<std::uint32_t>(what)};
      break;
    case GgufType::u64:
      result.value = in.number<std::uint64_t>(what);
      break;
    case GgufType::i8:
      result.value = std::int64_t{in.number<std::int8_t>(what)};
      break;
    case GgufType::i16:
      result.value = std::int64_t{in.number<std::int16_t>(what)};
      break;
    case GgufType::i32:
      result.value = std::int64_t{in.number<std::int32_t>(what)};
      break;
    case GgufType::i64:
      result.value = in.number<std::int64_t>(what);
      break;
    case GgufType::f32:
      result.value = static_cast<double>(in.number<float>(what));
      break;
    case GgufType::f64:
      result.value = in.number<double>(what);
      break;
    case GgufType::boolean:
      result.value = read_boolean(in, path, what);
      break;
    case GgufType::string:
      result.value = in.string(what, kMaxHeaderBytes);
      break;
    case GgufType::array:
      result.value = read_array(in, path, what);
      break;
  }
  return result;
}

// Types of other files, by their number. Those we read have their names in formats.inc.
struct OtherType {
  std::uint32_t type;
  const char* name;
};
constexpr OtherType kOtherTypes[] = {
    {4, "q4_2"},    {5, "q4_3"},        {9, "q8_1"},        {15, "q8_k"},       {16, "iq2_xxs"},
    {17, "iq2_xs"}, {18, "iq3_xxs"},    {19, "iq1_s"},      {21, "iq3_s"},      {22, "iq2_s"},
    {24, "i8"},     {25, "i16"},        {26, "i32"},        {27, "i64"},        {28, "f64"},
    {29, "iq1_m"},  {31, "q4_0_4_4"},   {32, "q4_0_4_8"},   {33, "q4_0_8_8"},   {34, "tq1_0"},
    {35, "tq2_0"},  {36, "iq4_nl_4_4"}, {37, "iq4_nl_4_8"}, {38, "iq4_nl_8_8"}, {40, "nvfp4"},
    {41, "q1_0"}};

std::string type_text(std::uint32_t type) {
  for (const OtherType& other : kOtherTypes)
    if (other.type == type) return other.name;
  return "number " + std::to_string(type);
}
std::string supported_types() {
  std::string out;
  for (const QuantFormat& f : all_formats()) out += (out.empty() ? "" : ", ") + std::string(f.name);
  return out;
}

GgufTensor read_tensor(Cursor& in, const std::string& path, std::uint64_t index) {
  GgufTensor tensor;
  tensor.name = in.string("the name of tensor " + std::to_string(index), kMaxTensorNameBytes);
  check_name(path, tensor.name, "tensor name", in.position());
  const std::string what = "tensor " + tensor.name;
  const auto n_dims = in.number<std::uint32_t>(what);
  ESP_CHECK(n_dims >= 1 && n_dims <= kMaxDims, unsupported, path, ": ", what, " has ", n_dims,
            " dimensions, but 1 to ", kMaxDims, " are supported");
  std::int64_t elements = 1;
  for (std::uint32_t d = 0; d < n_dims; ++d) {
    const auto extent = in.number<std::uint64_t>(what);
    ESP_CHECK(extent >= 1 && extent <= static_cast<std::uint64_t>(
                                           std::numeric_limits<std::int64_t>::max() / elements),
              input, path, ": ", what, " has extent ", extent, " in dimension ", d,
              extent == 0 ? ", must be at least 1" : ", its size overflows");
    elements *= static_cast<std::int64_t>(extent);
    tensor.ne.push_back(static_cast<std::int64_t>(extent));
  }
  const auto type = in.number<std::uint32_t>(what);
  const std::optional<FormatId> format = format_by_gguf_type(type);
  ESP_CHECK(format.has_value(), unsupported, path, ": ", what, " is of type ", type_text(type),
            ", which is not supported; supported are ", supported_types());
  tensor.format = *format;
  const QuantFormat& layout = info(*format);
  ESP_CHECK(tensor.cols() % layout.block == 0, input, path, ": ", what, " has rows of ",
            tensor.cols(), " values, not a multiple of the block of ", layout.name, " (",
            layout.block, ")");
  const std::int64_t blocks = elements / layout.block;
  ESP_CHECK(blocks <= std::numeric_limits<std::int64_t>::max() / layout.block_bytes, input, path,
            ": ", what, ": its size overflows");
  tensor.bytes = static_cast<std::uint64_t>(blocks * layout.block_bytes);
  tensor.offset = in.number<std::uint64_t>(what);
  return tensor;
}

// Checks magic and version. Refuses everything but little-endian GGUF 2 and 3.
void read_signature(Cursor& in, const std::string& path) {
  std::array<char, 4> magic{};
  for (char& c : magic) c = static_cast<char>(in.number<std::uint8_t>("the magic"));
  const std::string_view text(magic.data(), magic.size());
  ESP_CHECK(text != "FUGG", unsupported, path,
            ": the magic is FUGG: this is a big-endian GGUF file, but only little-endian files are "
            "supported");
  ESP_CHECK(text != "lmgg" && text != "tjgg" && text != "fmgg" && text != "algg", unsupported, path,
            ": this is a GGML file, older than GGUF; convert it to GGUF first");
  if (text != "GGUF") refuse_known_file(path);
  ESP_CHECK(text == "GGUF", input, path, ": not a GGUF file: it does not start with GGUF");
  const auto version = in.number<std::uint32_t>("the version");
  ESP_CHECK(version != __builtin_bswap32(2) && version != __builtin_bswap32(3), unsupported, path,
            ": GGUF version ", version,
            ": this is a big-endian GGUF file, but only little-endian files are supported");
  ESP_CHECK(version == 2 || version == 3, unsupported, path, ": GGUF version ", version,
            "; 2 and 3 are supported");
}

// Makes offsets absolute. Checks that tensors lie inside the file, are aligned and do not overlap.
void place_tensors(const core::FileReader& file, std::vector<GgufTensor>& tensors,
                   std::uint64_t data_offset, std::uint32_t alignment) {
  for (GgufTensor& tensor : tensors) {
    ESP_CHECK(tensor.offset % alignment == 0, input, file.path(), ": tensor ", tensor.name,
              " starts at data offset ", tensor.offset, ", not a multiple of the alignment ",
              alignment);
    const std::uint64_t available = file.size() > data_offset ? file.size() - data_offset : 0;
    ESP_CHECK(tensor.offset <= available && tensor.bytes <= available - tensor.offset, input,
              file.path(), ": truncated: tensor ", tensor.name, " has ", tensor.bytes,
              " bytes at data offset ", tensor.offset, ", but the file has ", available,
              " bytes of data");
    tensor.offset += data_offset;
  }
  std::vector<const GgufTensor*> order;
  order.reserve(tensors.size());
  for (const GgufTensor& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(),
            [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < order.size(); ++i)
    ESP_CHECK(order[i - 1]->offset + order[i - 1]->bytes <= order[i]->offset, input, file.path(),
              ": tensors ", order[i - 1]->name, " and ", order[i]->name, " overlap at offset ",
              order[i]->offset);
}

}  // namespace

GgufHeader GgufHeader::read(const core::FileReader& file) {
  GgufHeader header;
  header.path_ = file.path();
  const std::string& path = header.path_;
  Cursor in(file);
  read_signature(in, path);
  const auto n_tensors = in.number<std::uint64_t>("the number of tensors");
  const auto n_metadata = in.number<std::uint64_t>("the number of metadata keys");
  ESP_CHECK(n_metadata <= in.remaining() / kMinMetadataBytes, input, path, ": claims ", n_metadata,
            " metadata keys, but the file is too small for them");
  ESP_CHECK(n_tensors <= in.remaining() / kMinTensorBytes, input, path, ": claims ", n_tensors,
            " tensors, but the file is too small for them");
  for (std::uint64_t i = 0; i < n_metadata; ++i) {
    std::string key = in.string("metadata key " + std::to_string(i), kMaxKeyBytes);
    check_name(path, key, "metadata key", in.position());
    ESP_CHECK(header.key_index_.emplace(key, header.metadata_.size()).second, input, path,
              ": metadata key ", key, " occurs twice");
    GgufValue value = read_value(in, path, "metadata key " + key);
    header.metadata_.emplace_back(std::move(key), std::move(value));
  }
  if (const GgufValue* alignment = header.find("general.alignment")) {
    ESP_CHECK(alignment->type == GgufType::u32, input, path, ": general.alignment is of type ",
              type_name(alignment->type), ", must be u32");
    const std::uint64_t value = std::get<std::uint64_t>(alignment->value);
    ESP_CHECK(std::has_single_bit(value) && value >= 8 && value <= kMaxAlignment, input, path,
              ": general.alignment is ", value, ", must be a power of two from 8 to ",
              kMaxAlignment);
    header.alignment_ = static_cast<std::uint32_t>(value);
  }
  for (std::uint64_t i = 0; i < n_tensors; ++i) {
    GgufTensor tensor = read_tensor(in, path, i);
    ESP_CHECK(header.tensor_index_.emplace(tensor.name, header.tensors_.size()).second, input, path,
              ": tensor ", tensor.name, " occurs twice");
    header.tensors_.push_back(std::move(tensor));
  }
  const std::uint64_t mask = header.alignment_ - 1;
  header.data_offsets_ = {(in.position() + mask) & ~mask};
  place_tensors(file, header.tensors_, header.data_offsets_.front(), header.alignment_);
  return header;
}

void GgufHeader::join(GgufHeader part) {
  for (GgufTensor& tensor : part.tensors_) {
    tensor.part = data_offsets_.size();
    ESP_CHECK(tensor_index_.emplace(tensor.name, tensors_.size()).second, input, part.path_,
              ": tensor ", tensor.name,
              " is in another part already; fetch the parts of one model");
    tensors_.push_back(std::move(tensor));
  }
  data_offsets_.push_back(part.data_offsets_.front());
}

const GgufValue* GgufHeader::find(std::string_view key) const {
  const auto found = key_index_.find(key);
  return found == key_index_.end() ? nullptr : &metadata_[found->second].second;
}

const GgufTensor* GgufHeader::tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace espalier::format
