// SPDX-License-Identifier: Apache-2.0
// Open addressing with linear steps. The slot of a text is its hash scaled to the length of the
// table.
#include "text/token_ids.h"

#include <functional>
#include <limits>

#include "core/error.h"

namespace espalier::text {

TokenIds::TokenIds(std::size_t n) : slots_(n + n / 2 + 1, -1) { ends_.reserve(n); }

std::size_t TokenIds::slot_of(std::string_view text) const {
  const std::uint64_t hash = std::hash<std::string_view>()(text) & 0xFFFFFFFFu;
  for (auto i = static_cast<std::size_t>(hash * slots_.size() >> 32);;
       i = i + 1 == slots_.size() ? 0 : i + 1)
    if (slots_[i] < 0 || this->text(slots_[i]) == text) return i;
}

std::int32_t TokenIds::add(std::string_view text) {
  ESP_ASSERT(ends_.size() + ends_.size() / 2 < slots_.size());
  ESP_CHECK(bytes_.size() + text.size() <= std::numeric_limits<std::uint32_t>::max(), input,
            "the tokens of this vocabulary have more than 4 GB");
  std::int32_t& slot = slots_[slot_of(text)];
  const std::int32_t before = slot;
  if (before < 0) slot = static_cast<std::int32_t>(ends_.size());
  bytes_ += text;
  ends_.push_back(static_cast<std::uint32_t>(bytes_.size()));
  return before;
}

std::string_view TokenIds::text(std::int32_t id) const {
  const auto i = static_cast<std::size_t>(id);
  const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
  return std::string_view(bytes_).substr(begin, ends_[i] - begin);
}

std::int32_t TokenIds::find(std::string_view text) const {
  return slots_.empty() ? -1 : slots_[slot_of(text)];
}

}  // namespace espalier::text
