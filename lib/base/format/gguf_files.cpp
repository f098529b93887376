// SPDX-License-Identifier: Apache-2.0
// Opens the parts of a split model and checks that they belong together.
#include "format/gguf_files.h"

#include <filesystem>
#include <utility>

#include "core/error.h"
#include "core/parts.h"
#include "format/gguf_split.h"

namespace espalier::format {
namespace {

namespace fs = std::filesystem;

struct Split {
  std::int64_t index = 0, count = 1, tensors = -1;
};

Split split_of(const GgufHeader& header) {
  Split out;
  out.count = header.optional_integer(kSplitCount).value_or(1);
  if (out.count <= 1) return {};
  out.index = header.optional_integer(kSplitIndex).value_or(-1);
  out.tensors = header.optional_integer(kSplitTensors).value_or(-1);
  ESP_CHECK(out.index >= 0 && out.index < out.count && out.count <= kMostParts, input,
            header.path(), ": keys ", kSplitIndex, " and ", kSplitCount, " say part ", out.index,
            " of ", out.count, ", expected parts from 0 on, at most ", kMostParts);
  return out;
}

std::string plain_name(const std::string& path) { return fs::path(path).filename().string(); }

// The prefix of all parts. Their names have to be those that all programs give them, or the others
// cannot be found.
std::string prefix_of(const std::string& path, const Split& split) {
  const std::optional<core::PartName> name = core::part_name(path);
  ESP_CHECK(name && name->index == split.index && name->of == split.count, input, path,
            ": is part ", split.index + 1, " of ", split.count,
            " of a split model; its name must end in ",
            core::part_path("", static_cast<int>(split.index), static_cast<int>(split.count)),
            ", so that the other parts are found");
  ESP_CHECK(split.index == 0, input, path, ": is part ", split.index + 1, " of ", split.count,
            " of a split model; open the first part, ",
            core::part_path(name->prefix, 0, static_cast<int>(split.count)));
  return name->prefix;
}

GgufHeader read_part(const core::FileReader& file, int index, const Split& first,
                     const GgufHeader& of) {
  GgufHeader header = GgufHeader::read(file);
  const Split split = split_of(header);
  ESP_CHECK(split.index == index && split.count == first.count && split.tensors == first.tensors,
            input, file.path(), ": does not belong to ", plain_name(of.path()), ", whose part ",
            index + 1, " of ", first.count, " knows ", first.tensors,
            " tensors in all parts: this is part ", split.index + 1, " of ", split.count, " of ",
            split.tensors, " tensors; fetch the parts of one model");
  ESP_CHECK(header.optional_integer(kSplitOf) == of.optional_integer(kSplitOf), input, file.path(),
            ": does not belong to ", plain_name(of.path()), ": key ", kSplitOf,
            " differs, so the two were written at different times; fetch the parts of one model");
  return header;
}

}  // namespace

GgufFiles::GgufFiles(const std::string& path) {
  files_.emplace_back(path);
  header_ = GgufHeader::read(files_.front());
  const Split split = split_of(header_);
  if (split.count == 1) return;
  const std::string prefix = prefix_of(path, split);
  for (int i = 1; i < split.count; ++i) {
    const std::string part = core::part_path(prefix, i, static_cast<int>(split.count));
    std::error_code unreadable;
    ESP_CHECK(fs::exists(part, unreadable), input, part, ": part ", i + 1, " of ", split.count,
              " of the split model ", plain_name(path),
              " is missing; put all parts into one folder");
    files_.emplace_back(part);
    header_.join(read_part(files_.back(), i, split, header_));
  }
  const auto found = static_cast<std::int64_t>(header_.tensors().size());
  ESP_CHECK(split.tensors < 0 || found == split.tensors, input, path, ": its ", split.count,
            " parts have ", found, " tensors together, but key ", kSplitTensors, " says ",
            split.tensors, "; fetch the parts of one model");
}

std::uint64_t GgufFiles::bytes() const {
  std::uint64_t sum = 0;
  for (const core::FileReader& file : files_) sum += file.size();
  return sum;
}

}  // namespace espalier::format
