// SPDX-License-Identifier: Apache-2.0
// The only exception that the libraries throw. Its message says what failed and where (path, key,
// line, tensor). It also gives the expected and the found value, and what to do.
//
// Libraries throw it for everything that a user, a file or the machine can cause. The tools map its
// kind to an exit code.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace espalier::core {

// The value of a kind is the exit code of the tools.
enum class ErrorKind { internal = 1, usage = 2, input = 3, unsupported = 4, check_failed = 5 };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

// Throws an Error whose message is all parts in sequence, for example:
//   fail(ErrorKind::input, path, ": tensor ", name, " has ", n, " bytes, expected ", m)
template <typename... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(kind, text.str());
}

}  // namespace espalier::core

// Checks a condition that a user can violate. Throws an Error of the given kind with the message
// parts, which are evaluated only on failure.
#define ESP_CHECK(condition, kind, ...)                                                       \
  do {                                                                                        \
    if (!(condition)) ::espalier::core::fail(::espalier::core::ErrorKind::kind, __VA_ARGS__); \
  } while (false)

// Checks a condition that only a bug of ours can violate. Debug builds only.
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
