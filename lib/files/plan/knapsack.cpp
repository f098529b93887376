// SPDX-License-Identifier: Apache-2.0
// There are three steps:
// - Lagrangian relaxation (Everett 1963, generalized Lagrange multipliers). For a price lambda,
//   each item alone takes the option of least loss + lambda * cost. Bisection finds the smallest
//   price that fits.
// - Greedy repair spends the rest of the budget.
// - Dynamic programming over undominated (cost, loss) states closes the gap, cut by the Lagrangian
//   bound.
//
// The last step is exact while the states fit in kMaxStates. Beyond that, states with the worst
// bounds are dropped, and the result is the better of the last two steps.
#include "plan/knapsack.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/error.h"

namespace espalier::plan {
namespace {

constexpr std::size_t kMaxStates = 20000;

struct Option {
  std::size_t place;  // among those that were given
  std::int64_t cost;
  double loss;
};
struct Item {
  std::vector<Option> options;  // by cost ascending, loss strictly descending
};

// Drops options that another option beats in both cost and loss.
void keep_undominated(std::vector<Option>& options) {
  std::stable_sort(options.begin(), options.end(), [](const Option& a, const Option& b) {
    return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss;
  });
  std::vector<Option> kept;
  for (const Option& o : options)
    if (kept.empty() || o.loss < kept.back().loss) kept.push_back(o);
  options = std::move(kept);
}

// The index of the option of least loss + price * cost. Among equals, the smaller option.
std::size_t cheapest(const Item& item, double price) {
  std::size_t best = 0;
  double best_cost = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < item.options.size(); ++i) {
    const double cost = item.options[i].loss + price * static_cast<double>(item.options[i].cost);
    if (cost < best_cost) {
      best = i;
      best_cost = cost;
    }
  }
  return best;
}

using Choice = std::vector<std::size_t>;  // option index of each item

Choice relaxed(const std::vector<Item>& items, double price) {
  Choice choice;
  for (const Item& item : items) choice.push_back(cheapest(item, price));
  return choice;
}
std::int64_t cost_of(const std::vector<Item>& items, const Choice& choice) {
  std::int64_t cost = 0;
  for (std::size_t i = 0; i < items.size(); ++i) cost += items[i].options[choice[i]].cost;
  return cost;
}
double loss_of(const std::vector<Item>& items, const Choice& choice) {
  double loss = 0;
  for (std::size_t i = 0; i < items.size(); ++i) loss += items[i].options[choice[i]].loss;
  return loss;
}

// The smallest price (to the last bit that matters) whose relaxed choice fits.
double smallest_fitting_price(const std::vector<Item>& items, std::int64_t budget) {
  if (cost_of(items, relaxed(items, 0)) <= budget) return 0;
  double low = 0, high = 1e-12;
  while (cost_of(items, relaxed(items, high)) > budget) {
    low = high;
    high *= 4;
    ESP_CHECK(high < 1e300, internal, "knapsack: no price fits the budget");
  }
  for (int step = 0; step < 200 && high - low > 1e-15 * high; ++step) {
    const double middle = 0.5 * (low + high);
    (cost_of(items, relaxed(items, middle)) <= budget ? high : low) = middle;
  }
  return high;
}

// Applies upgrades while any fits, best loss per cost first.
void repair(const std::vector<Item>& items, std::int64_t budget, Choice& choice) {
  std::int64_t left = budget - cost_of(items, choice);
  for (;;) {
    std::size_t best_item = items.size(), best_option = 0;
    double best_rate = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      const Option& now = items[i].options[choice[i]];
      for (std::size_t o = choice[i] + 1; o < items[i].options.size(); ++o) {
        const Option& next = items[i].options[o];
        if (next.cost - now.cost > left) break;
        const double rate = (now.loss - next.loss) / static_cast<double>(next.cost - now.cost);
        if (rate > best_rate) {
          best_rate = rate;
          best_item = i;
          best_option = o;
        }
      }
    }
    if (best_item == items.size()) return;
    left -= items[best_item].options[best_option].cost -
            items[best_item].options[choice[best_item]].cost;
    choice[best_item] = best_option;
  }
}

// The increase of loss + price * cost over the item's best option when this option is taken.
double regret(const Item& item, std::size_t option, double price) {
  const Option& best = item.options[cheapest(item, price)];
  const Option& taken = item.options[option];
  return std::max(0.0,
                  taken.loss - best.loss + price * static_cast<double>(taken.cost - best.cost));
}

// loss + price * cost of the relaxed choice.
double relaxed_cost(const std::vector<Item>& items, double price) {
  double cost = 0;
  for (const Item& item : items) {
    const Option& o = item.options[cheapest(item, price)];
    cost += o.loss + price * static_cast<double>(o.cost);
  }
  return cost;
}

// The items ordered by how soon each may deviate from the relaxed choice: by its smallest regret.
std::vector<std::size_t> by_least_regret(const std::vector<Item>& items, double price) {
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < items.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    const std::size_t best = cheapest(items[i], price);
    for (std::size_t o = 0; o < items[i].options.size(); ++o)
      if (o != best) least = std::min(least, regret(items[i], o, price));
    order.emplace_back(least, i);
  }
  std::stable_sort(order.begin(), order.end());
  std::vector<std::size_t> out;
  out.reserve(order.size());
  for (const auto& [least, i] : order) out.push_back(i);
  return out;
}

// A choice for the first items of an order.
struct State {
  std::int64_t cost;
  double loss, regret;
  std::size_t parent, option;
};
using States = std::vector<State>;

// Every state with every option of one more item, while it costs at most `room` and its
// regret stays below `gap`.
States extended(const States& states, const Item& item, double price, std::int64_t room,
                double gap) {
  States out;
  for (std::size_t o = 0; o < item.options.size(); ++o) {
    const double r = regret(item, o, price);
    for (std::size_t s = 0; s < states.size(); ++s) {
      const State& from = states[s];
      const State to{from.cost + item.options[o].cost, from.loss + item.options[o].loss,
                     from.regret + r, s, o};
      if (to.cost > room || !(to.regret < gap)) continue;
      out.push_back(to);
    }
  }
  return out;
}

// Those that no other one of less cost and less loss beats; of too many, those of least regret.
States undominated(States states) {
  std::stable_sort(states.begin(), states.end(), [](const State& a, const State& b) {
    return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss;
  });
  States kept;
  for (const State& s : states)
    if (kept.empty() || s.loss < kept.back().loss) kept.push_back(s);
  if (kept.size() > kMaxStates) {
    std::nth_element(kept.begin(), kept.begin() + kMaxStates, kept.end(),
                     [](const State& a, const State& b) { return a.regret < b.regret; });
    kept.resize(kMaxStates);
  }
  return kept;
}

// Undominated states over the items, ordered by how soon an item may deviate from the relaxed
// choice. The bound of a state is the relaxed optimum plus its regrets so far. A state is dropped
// when its bound is no better than the incumbent.
Choice close_gap(const std::vector<Item>& items, std::int64_t budget, double price,
                 Choice incumbent) {
  const double gap = loss_of(items, incumbent) -
                     (relaxed_cost(items, price) - price * static_cast<double>(budget));
  if (!(gap > 0)) return incumbent;
  const std::vector<std::size_t> order = by_least_regret(items, price);
  std::vector<std::int64_t> smallest_rest(items.size() + 1, 0);
  for (std::size_t k = items.size(); k-- > 0;)
    smallest_rest[k] = smallest_rest[k + 1] + items[order[k]].options.front().cost;

  std::vector<States> levels{{{0, 0, 0, 0, 0}}};
  for (std::size_t k = 0; k < items.size(); ++k) {
    States next = undominated(
        extended(levels.back(), items[order[k]], price, budget - smallest_rest[k + 1], gap));
    if (next.empty()) return incumbent;
    levels.push_back(std::move(next));
  }
  const States& last = levels.back();
  std::size_t best = 0;
  for (std::size_t s = 1; s < last.size(); ++s)
    if (last[s].loss < last[best].loss) best = s;
  if (!(last[best].loss < loss_of(items, incumbent))) return incumbent;
  Choice choice(items.size());
  for (std::size_t k = items.size(), s = best; k-- > 0;) {
    choice[order[k]] = levels[k + 1][s].option;
    s = levels[k + 1][s].parent;
  }
  return choice;
}

}  // namespace

std::int64_t smallest_cost(const std::vector<CostsAndLosses>& items) {
  std::int64_t sum = 0;
  for (const CostsAndLosses& item : items)
    sum += *std::min_element(item.costs.begin(), item.costs.end());
  return sum;
}

std::vector<std::size_t> least_loss_within(const std::vector<CostsAndLosses>& given,
                                           std::int64_t budget) {
  ESP_CHECK(smallest_cost(given) <= budget, internal, "knapsack: the smallest options cost more");
  std::vector<Item> items;
  for (const CostsAndLosses& g : given) {
    Item& item = items.emplace_back();
    for (std::size_t i = 0; i < g.costs.size(); ++i)
      item.options.push_back({i, g.costs[i], g.losses.at(i)});
    keep_undominated(item.options);
  }
  const double price = smallest_fitting_price(items, budget);
  Choice choice = relaxed(items, price);
  repair(items, budget, choice);
  if (price > 0) choice = close_gap(items, budget, price, std::move(choice));
  std::vector<std::size_t> out(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) out[i] = items[i].options[choice[i]].place;
  return out;
}

}  // namespace espalier::plan
