// SPDX-License-Identifier: Apache-2.0
// The list of notes of this process, behind a mutex.
#include "core/notes.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace espalier::core {
namespace {

struct Board {
  std::mutex mutex;
  std::vector<std::string> notes;
  std::function<void(const std::string&)> hear;
};
Board& board() {
  static Board all;
  return all;
}

}  // namespace

void note(const std::string& text) {
  Board& b = board();
  const std::lock_guard lock(b.mutex);
  if (std::find(b.notes.begin(), b.notes.end(), text) != b.notes.end()) return;
  b.notes.push_back(text);
  if (b.hear) b.hear(text);
}

std::vector<std::string> notes() {
  Board& b = board();
  const std::lock_guard lock(b.mutex);
  return b.notes;
}

void hear_notes(std::function<void(const std::string&)> hear) {
  Board& b = board();
  const std::lock_guard lock(b.mutex);
  b.hear = std::move(hear);
}

}  // namespace espalier::core
