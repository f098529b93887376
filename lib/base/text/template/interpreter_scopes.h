// SPDX-License-Identifier: Apache-2.0
// Guards of the interpreter: recursion and scopes.
#pragma once
#include <string>

#include "text/template/interpreter.h"

namespace espalier::text::jinja {

inline constexpr int kMaxRecursion = 800;

class Interpreter::Deeper {
 public:
  explicit Deeper(Interpreter& run) : run_(run) {
    if (++run_.level_ > kMaxRecursion) {
      --run_.level_;
      throw Fault("it recurses more than " + std::to_string(kMaxRecursion) + " levels deep");
    }
  }
  ~Deeper() { --run_.level_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  Interpreter& run_;
};

// A new scope inside `parent`, or inside the current one.
class Interpreter::Inner {
 public:
  explicit Inner(Interpreter& run) : Inner(run, run.scope_) {}
  Inner(Interpreter& run, const std::shared_ptr<Scope>& parent) : run_(run), before_(run.scope_) {
    run_.scope_ = std::make_shared<Scope>(Scope{.values = {}, .parent = parent});
  }
  ~Inner() { run_.scope_ = before_; }
  Inner(const Inner&) = delete;
  Inner& operator=(const Inner&) = delete;

 private:
  Interpreter& run_;
  std::shared_ptr<Scope> before_;
};

}  // namespace espalier::text::jinja
