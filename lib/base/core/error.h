// SPDX-License-Identifier: Apache-2.0
// The one exception of the libraries. It says what failed, where (path, key, line, tensor), what
// was expected against what was found, and what to do. Libraries throw it for whatever a user, a
// file or the machine can cause; tools map its kind to an exit code.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace espalier::core {

enum class ErrorKind {
  internal = 1,
  usage = 2,
  input = 3,
  unsupported = 4,
  check_failed = 5
};  // value = exit code

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

// fail(ErrorKind::input, path, ": tensor ", name, " has ", n, " bytes, expected ", m)
template <typename... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(kind, text.str());
}

}  // namespace espalier::core

// User-causable condition: throws Error of that kind with the message parts (evaluated only on
// failure).
#define ESP_CHECK(condition, kind, ...)                                                       \
  do {                                                                                        \
    if (!(condition)) ::espalier::core::fail(::espalier::core::ErrorKind::kind, __VA_ARGS__); \
  } while (false)

// Our own bug: debug builds only.
#ifdef NDEBUG
#define ESP_ASSERT(condition) static_cast<void>(0)
#else
#define ESP_ASSERT(condition)                                                                \
  do {                                                                                       \
    if (!(condition))                                                                        \
      ::espalier::core::fail(::espalier::core::ErrorKind::internal, __FILE__, ":", __LINE__, \
                             ": " #condition);                                               \
  } while (false)
#endif
