#!/usr/bin/env bash
# deploy/heddle-gdb.py under the real gdb: a live process, a core that gdb makes, a core that the kernel makes.
#
#   gdb_test.sh live|gcore|core TARGET SCRIPT
#
# Exit status: 0 as it should be; 1 not so; 77 skipped, the reason on standard output.
set -euo pipefail

mode=$1 target=$2 script=$3
skip() {
  printf 'skipped: %s\n' "$*"
  exit 77
}
command -v gdb > /dev/null || skip "no gdb here"
gdb -nx -batch -ex 'python import gdb.unwinder; gdb.invalidate_cached_frames' > /dev/null 2>&1 || skip "this gdb has no Python, or is older than 12"

dir=$(mktemp -d)
pid=
# A core may not fill the disk, whatever goes wrong: 2 GiB at most.
ulimit -f 2097152
clean_up() {
  [[ -z $pid ]] || kill -KILL "$pid" 2> /dev/null || true
  rm -rf "$dir"
}
trap clean_up EXIT

start_target() {
  mkfifo "$dir/ready"
  # gdb cannot read above a guard that is a marker: see the script's head.
  HEDDLE_STACK_GUARD=mapping "$target" > "$dir/ready" &
  pid=$!
  local line
  read -r line < "$dir/ready"
  [[ $line == ready ]]
}

commands=(-ex "source $script" -ex 'info goroutines' -ex 'goroutine all bt' -ex 'goroutine 1 bt' -ex 'goroutine 1 info frame')
case $mode in
  live)
    start_target
    gdb -nx -batch -p "$pid" "${commands[@]}" "$target" > "$dir/out" 2> "$dir/err" || true
    ;;
  gcore)
    start_target
    gdb -nx -batch -p "$pid" -ex "generate-core-file $dir/core" "$target" > "$dir/made" 2>&1 || true
    [[ -s $dir/core ]] || skip "gdb could not attach, or not write a core: $(tail -n 1 "$dir/made")"
    gdb -nx -batch "${commands[@]}" "$target" "$dir/core" > "$dir/out" 2> "$dir/err" || true
    ;;
  core)
    pattern=$(cat /proc/sys/kernel/core_pattern)
    [[ $pattern == */* || $pattern == \|* ]] && skip "the kernel puts cores elsewhere: $pattern"
    (
      cd "$dir"
      ulimit -c unlimited || exit 3
      "$target" abort > /dev/null 2>&1
    ) || true
    core=$(find "$dir" -name "$pattern*" -type f | head -n 1)
    [[ -n $core ]] || skip "the kernel wrote no core (ulimit -c, or it is not allowed)"
    gdb -nx -batch "${commands[@]}" "$target" "$core" > "$dir/out" 2> "$dir/err" || true
    ;;
esac
if grep -qi 'ptrace: Operation not permitted\|Could not attach' "$dir/err" "$dir/out"; then
  skip "gdb may not attach to a process here (ptrace)"
fi

failed=0
expect() {
  grep -Eq "$2" "$dir/out" && return
  printf 'missing: %s (%s)\n' "$1" "$2"
  failed=1
}
count() {
  local n
  n=$(grep -Ec "$2" "$dir/out" || true)
  [[ $n == "$1" ]] && return
  printf 'found %s times, not %s: %s\n' "$n" "$1" "$2"
  failed=1
}
expect 'the list' '^goroutine [0-9]+ \[chan receive\] "waiter", created by goroutine 1 at tests/core/gdb_target.cc:[0-9]+'
expect 'the running one' '^goroutine [0-9]+ \[running\] "computer"'
count 3 '^#[0-9]+ .*waits_for_a_value.*gdb_target\.cc:'
count 3 '^#[0-9]+ .*takes_a_detour.*gdb_target\.cc:'
expect 'its thread' '^\(on thread [0-9]+\)'
expect 'its frame' '^#[0-9]+ .*computes.*gdb_target\.cc:'
if ((failed)); then
  printf -- '--- gdb said:\n'
  cat "$dir/out"
  printf -- '--- and on standard error:\n'
  cat "$dir/err"
fi
exit "$failed"
