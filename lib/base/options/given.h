// SPDX-License-Identifier: Apache-2.0
// Which options a user gave, and how to speak of them: as keys of a recipe, with their place, or as
// flags of a verb. What one option makes of another is checked through it, in one place for both.
#pragma once
#include <initializer_list>
#include <string>

namespace espalier::options {

class Given {
 public:
  virtual ~Given() = default;
  virtual bool has(const std::string& name) const = 0;
  // 'ridge' or --ridge.
  virtual std::string spelled(const std::string& name) const = 0;
  // Error(usage or input): "recipe.yaml:3:5: ridge: <reason>" or "prune: --ridge: <reason>".
  [[noreturn]] virtual void refuse(const std::string& name, const std::string& reason) const = 0;

  // Refuses those of `names` that were given: beside `cause` they have no effect, and what a user
  // asks for is not dropped in silence. `advice`: what to do instead.
  void refuse_unused(const std::string& cause, std::initializer_list<const char*> names,
                     const std::string& advice) const {
    std::string first, all;
    for (const char* name : names) {
      if (!has(name)) continue;
      if (first.empty()) first = name;
      all += (all.empty() ? "" : ", ") + spelled(name);
    }
    if (!first.empty()) refuse(first, "no effect " + cause + ": " + all + "; " + advice);
  }
  // The same for what is merely of no use: a command line refuses it, a recipe leaves a note.
  virtual void unused(const std::string& cause, std::initializer_list<const char*> names,
                      const std::string& advice) const {
    refuse_unused(cause, names, advice);
  }
};

}  // namespace espalier::options
