// SPDX-License-Identifier: Apache-2.0
// Collects everything that is wrong with one input, so that the user sees all problems at once.
#pragma once
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"

namespace espalier::checkpoint {

// "[2, 3]"
inline std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

class Problems {
 public:
  explicit Problems(std::string path) : path_(std::move(path)) {}

  // The input is broken.
  template <typename... Parts>
  void input(const Parts&... parts) {
    broken_ = true;
    add(parts...);
  }
  // The input is sound but asks for something this program does not do.
  template <typename... Parts>
  void unsupported(const Parts&... parts) {
    add(parts...);
  }
  bool empty() const { return count_ == 0; }
  std::size_t count() const { return count_; }

  // Throws when there is any problem: Error(input) if something is broken, else Error(unsupported).
  void raise() const {
    if (empty()) return;
    std::ostringstream text;
    text << path_ << ": ";
    if (count_ == 1) {
      text << lines_.front();
    } else {
      text << count_ << " problems:";
      for (const std::string& line : lines_) text << "\n  - " << line;
      if (count_ > lines_.size()) text << "\n  - ... and " << count_ - lines_.size() << " more";
    }
    throw core::Error(broken_ ? core::ErrorKind::input : core::ErrorKind::unsupported, text.str());
  }

 private:
  static constexpr std::size_t kShown = 40;
  template <typename... Parts>
  void add(const Parts&... parts) {
    ++count_;
    if (lines_.size() >= kShown) return;
    std::ostringstream text;
    (text << ... << parts);
    lines_.push_back(text.str());
  }
  std::string path_;
  std::vector<std::string> lines_;
  std::size_t count_ = 0;
  bool broken_ = false;
};

}  // namespace espalier::checkpoint
