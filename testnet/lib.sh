# Shared by the testnet commands: names, folders, hosts. Sourced, not run.
#
# A testnet is a switch (a bridge in a network namespace of its own) and hosts (a namespace each, with its own Docker
# engine and agent). This machine has an address on the switch and forwards nothing.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
# SKEIN_TESTNET names the testnet, so that several can live side by side.
net=${SKEIN_TESTNET:-skein}
run=$here/.run
[ "$net" = skein ] || run=$here/.run-$net
lab=$net-lab
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/skein/target}"
# The profile of the agent that the hosts run: dev (shared with the tests) or release.
profile=${SKEIN_PROFILE:-dev}
agent=$CARGO_TARGET_DIR/${profile/dev/debug}/agent

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "this needs root: it makes network namespaces and starts Docker engines"; }

# Installs Debian packages unless all the given commands are there: install "cmd cmd" package...
install() {
  local missing=0 cmd
  for cmd in $1; do command -v "$cmd" >/dev/null || missing=1; done
  shift
  [ $missing = 0 ] && return
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return
  apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The third number of the switch's /24, chosen when the testnet is made.
subnet() { cat "$run/subnet"; }
ns() { echo "$net-$1"; }
address() { echo "10.200.$(subnet).${1#n}"; }
folder() { echo "$run/$1"; }
node_exists() { [ -d "$(folder "$1")" ] || die "there is no node $1 (nodes: $(nodes))"; }
nodes() { (cd "$run" 2>/dev/null && ls -d n[0-9]* 2>/dev/null | tr '\n' ' ') || true; }

# Runs a command on a host's network with its Docker and kubeconfig.
on() {
  local node=$1 dir
  dir=$(folder "$node")
  shift
  PATH="$run/bin:$CARGO_TARGET_DIR/${profile/dev/debug}:$PATH" DOCKER_HOST="unix://$dir/docker.sock" \
    KUBECONFIG="$dir/data/kubeconfig" SKEIN_DATA="$dir/data" nsenter --net="/run/netns/$(ns "$node")" "$@"
}

# Whether the process whose id a file holds is alive.
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# Waits until a command succeeds: wait_for SECONDS WHAT COMMAND...
wait_for() {
  local seconds=$1 what=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || die "waited $seconds s in vain for $what"
    sleep 0.1
  done
}

# Ends the process whose id a file holds: TERM, and KILL after so many seconds.
end_process() {
  local file=$1 patience=$2 pid end
  [ -s "$file" ] || return 0
  pid=$(cat "$file")
  kill "$pid" 2>/dev/null || true
  end=$((SECONDS + patience))
  while kill -0 "$pid" 2>/dev/null; do
    [ $SECONDS -lt $end ] || kill -9 "$pid" 2>/dev/null || true
    sleep 0.05
  done
  rm -f "$file"
}

start_docker() {
  local dir
  dir=$(folder "$1")
  alive "$dir/docker.pid" && return
  rm -f "$dir/docker.pid"
  echo '{}' >"$dir/docker.json"
  nsenter --net="/run/netns/$(ns "$1")" setsid dockerd --config-file "$dir/docker.json" --data-root "$dir/docker" \
    --exec-root "$dir/docker-exec" --pidfile "$dir/docker.pid" -H "unix://$dir/docker.sock" --live-restore \
    --userland-proxy=false >>"$dir/docker.log" 2>&1 </dev/null &
  disown
}

start_agent() {
  local dir
  dir=$(folder "$1")
  alive "$dir/agent.pid" && return
  # The shell becomes the agent, so its id is the agent's.
  setsid bash -c 'echo $$ >"$0"; exec "$@"' "$dir/agent.pid" nsenter --net="/run/netns/$(ns "$1")" \
    env -i PATH="$PATH" HOME=/root RUST_LOG="${RUST_LOG:-info}" ${RUST_BACKTRACE:+RUST_BACKTRACE=$RUST_BACKTRACE} \
    "$agent" up --data "$dir/data" --docker "$dir/docker.sock" --node-name "$1" --address "$(address "$1")" \
    >>"$dir/agent.log" 2>&1 </dev/null &
  disown
}
