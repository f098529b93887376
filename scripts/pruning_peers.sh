#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Cuts the model of a comparison with other people's pruning tools: installs them from PyPI into .cache/pruning-peers, then runs tests/bench/pruning_peers.py
# with the words given here. docs/pruning-bench.md says what is run.
. "$(dirname "$0")/common.sh"
need_venv build
need_venv test
need_teacher
need_docs
need_on_top pruning-peers
exec env HF_HUB_OFFLINE=1 PYTHONPATH="$cache/pruning-peers" "$root/.venv/bin/python" "$root/tests/bench/pruning_peers.py" "$@"
