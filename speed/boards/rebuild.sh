#!/usr/bin/env bash
# Trains the boards of docs/ anew, writes their bundles into speed/boards/runs, and rewrites the tables of the pages:
#   bash speed/boards/rebuild.sh WORK DATA DATA_BOARDS [BOARD ...]
# WORK: a folder for the runs; given again, finished runs are kept and the others go on. DATA: the folder of the real sets.
# DATA_BOARDS: the folder of the larger BUS-BRA. BOARD: the name of a file in speed/boards; without one, all of them.
set -eu
if [ $# -lt 3 ]; then
  sed -n 2,5p "$0" >&2
  exit 2
fi
work=$(mkdir -p "$1" && cd "$1" && pwd) data=$(cd "$2" && pwd) data_boards=$(cd "$3" && pwd)
shift 3
root=$(cd "$(dirname "$0")/../.." && pwd)
export OMP_NUM_THREADS=1
cd "$work"
[ $# -gt 0 ] || set -- phantom_gaps tus_phantom acdc_phantom la_phantom real_hippocampus_slices real_hippocampus_volumes \
  real_hc18 real_bus_bra bus_bra_longer busi_phantom udiat_phantom ss_net_and_dan diff_cl_on_tus diff_cl_on_la csc_pa_on_tus dtlp_net_on_la
for name in "$@"; do
  case $name in real_bus_bra | bus_bra_longer) source=$data_boards ;; *) source=$data ;; esac
  bench matrix "$root/speed/boards/$name.yaml" --data-root "$source" --runs "$work/$name" --jobs 2 --no-track --no-pictures
  rm -rf "$root/speed/boards/runs/$name"
  bench export --runs "$work/$name" --no-predictions --out "$root/speed/boards/runs/$name"
done
python "$root/speed/results_page.py"
