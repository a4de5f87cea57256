#!/usr/bin/env bash
# Makes the figures of docs/performance.md anew: bash speed/performance_page.sh OUT [1|2]
# Each command writes a file in the folder OUT. With a number, only one half of the commands runs, so that two shells share two cores.
# On two quiet cores, each half takes about 40 minutes (18 of them for the costs of all methods). Commands for a GPU are not among them.
set -u
out=$(mkdir -p "${1:?usage: bash speed/performance_page.sh OUT [1|2]}" && cd "$1" && pwd)
half=${2:-both}
cd "$(dirname "$0")" || exit 1
export OMP_NUM_THREADS=1
measure() { # name, then the command
  local name=$1
  shift
  { echo "\$ python speed/$*"; git rev-parse --short HEAD; python "$@"; } >"$out/$name.txt" 2>&1
  echo "$name: exit code $?"
}
if [ "$half" != 2 ]; then
  measure against_peers against_peers.py --turns 15
  measure method_costs_2d iteration_cost.py --method all --dims 2
  measure paper_patch against_peers.py --setting mean-teacher --paper-patch --turns 5
  for setting in mean-teacher ua-mt mgcc; do measure "operators_$setting" against_peers.py --setting "$setting" --profile; done
  measure iteration_cost iteration_cost.py --case all --iterations 20
  measure step_variants step_variants.py --turns 20 --compile
  measure optimiser_steps optimiser_steps.py --quick --optimiser adam --turns 10
  measure dropout_masks dropout_masks.py
  measure precisions precisions.py --turns 4
  ONEDNN_MAX_CPU_ISA=AVX512_CORE measure precisions_without_bf16 precisions.py --turns 3
  measure mamba_scan mamba_scan.py
fi
if [ "$half" != 1 ]; then
  measure method_costs_3d iteration_cost.py --method all --dims 3
  measure start_up start_up.py --turns 5
  measure start_up_imports start_up.py --profile 12
  measure batch_cost batch_cost.py --rounds 40
  measure batch_profile batch_cost.py --profile 25
  measure scoring_cost scoring_cost.py
  measure scoring_cost_full scoring_cost.py --full --turns 2
  measure scoring_cost_cps scoring_cost.py --method cps --patch 96 --cases 4 --turns 2
  measure window_inference window_inference.py --turns 5 --volumes 2
  measure window_memory window_inference.py --turns 1 --volumes 20
  for norm in batch instance; do
    measure "memory_formats_$norm" memory_formats.py --turns 8 --norm "$norm"
    measure "memory_formats_passes_$norm" memory_formats.py --turns 8 --norm "$norm" --passes
  done
  measure data_size data_size.py
  measure leaderboard_size leaderboard_size.py --runs 10000 --runs 50000
  measure leaderboard_page leaderboard_page.py --rows 200 --seeds 50 --bulk
fi
