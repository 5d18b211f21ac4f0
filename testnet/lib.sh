# Shared by the testnet commands: names, folders, hosts. Sourced, not run.
#
# A testnet is a switch (a bridge in a network namespace of its own) and hosts (a namespace each, with its own Docker
# engine and agent). This machine has an address on the switch and forwards nothing. Host n2 is port v2 of the switch.

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
port() { echo "v${1#n}"; }
# A host's address. Its last number is the host's, until testnet/move gives it another.
address() { echo "10.200.$(subnet).$(cat "$(folder "$1")/number" 2>/dev/null || echo "${1#n}")"; }
folder() { echo "$run/$1"; }
node_exists() { [ -d "$(folder "$1")" ] || die "there is no node $1 (nodes: $(nodes))"; }
nodes() { (cd "$run" 2>/dev/null && ls -d n[0-9]* 2>/dev/null | tr '\n' ' ') || true; }
# All hosts, those too that tests add and that no command of the testnet starts an agent on (x1, x2 ...).
hosts() { (cd "$run" 2>/dev/null && ls -d n[0-9]* x[0-9]* 2>/dev/null | tr '\n' ' ') || true; }
first() { [ "$1" = n1 ]; }

# Removes the hosts of a testnet of this name that another checkout began and that was cut off before its `down`: their
# cables are gone, so they cannot be used. One that still runs anything is another's: that is an error.
remove_leftovers() {
  local space
  for space in $(ip netns list | awk '{print $1}' | grep -E "^$net-(lab|[nx][0-9]+)$" || true); do
    [ -z "$(ip netns pids "$space")" ] || die "a testnet named $net runs already, of another checkout (namespace $space): set SKEIN_TESTNET to another name"
    ip netns del "$space"
  done
  ip link del "sw-${net:0:11}" 2>/dev/null || true
}

# Makes a host, a namespace with a cable to the switch: make_host NAME [LAST NUMBER OF ITS ADDRESS]
make_host() {
  local node=$1 space
  space=$(ns "$node")
  mkdir -p "$(folder "$node")"
  [ $# = 1 ] || echo "$2" >"$(folder "$node")/number"
  [ -e "/run/netns/$space" ] && return
  ip netns add "$space"
  ip -n "$space" link set lo up
  ip link add eth0 netns "$space" type veth peer name "$(port "$node")" netns "$lab"
  ip -n "$lab" link set "$(port "$node")" master sw0 up
  ip -n "$space" addr add "$(address "$node")/24" dev eth0
  ip -n "$space" link set eth0 up
  ip -n "$space" route add default via "10.200.$(subnet).254"
  nsenter --net="/run/netns/$space" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
}

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
  [ ! -e "$run/no-docker" ] || return 0
  dir=$(folder "$1")
  alive "$dir/docker.pid" && return
  rm -f "$dir/docker.pid"
  echo '{}' >"$dir/docker.json"
  nsenter --net="/run/netns/$(ns "$1")" setsid dockerd --config-file "$dir/docker.json" --data-root "$dir/docker" \
    --exec-root "$dir/docker-exec" --pidfile "$dir/docker.pid" -H "unix://$dir/docker.sock" --live-restore \
    --userland-proxy=false >>"$dir/docker.log" 2>&1 </dev/null &
  disown
}

# Whether a host is a member of the cluster already (n1 becomes one by founding it).
joined() { [ -s "$(folder "$1")/data/identity" ]; }

# Starts a host's agent: `up`, or `join` with its token if it has not joined yet.
start_agent() {
  local dir command=(up)
  dir=$(folder "$1")
  alive "$dir/agent.pid" && return
  if ! first "$1" && ! joined "$1"; then
    [ -s "$dir/token" ] || die "$1 is not in the cluster yet: ./testnet/up joins it"
    command=(join "$(cat "$dir/token")")
  fi
  # The shell becomes the agent, so its id is the agent's. The agent finds its address itself.
  setsid bash -c 'echo $$ >"$0"; exec "$@"' "$dir/agent.pid" nsenter --net="/run/netns/$(ns "$1")" \
    env -i PATH="$PATH" HOME=/root RUST_LOG="${RUST_LOG:-info}" ${RUST_BACKTRACE:+RUST_BACKTRACE=$RUST_BACKTRACE} \
    "$agent" "${command[@]}" --data "$dir/data" --docker "$dir/docker.sock" --node-name "$1" \
    >>"$dir/agent.log" 2>&1 </dev/null &
  disown
}

# Waits for a file that an agent writes, and says the agent's last words if it ends instead: wait_for_agent NODE FILE
wait_for_agent() {
  local dir end=$((SECONDS + 60))
  dir=$(folder "$1")
  until [ -s "$dir/data/$2" ]; do
    # Its id is written by the agent's own shell, a moment after the start.
    if [ -s "$dir/agent.pid" ] && ! alive "$dir/agent.pid"; then
      die "the agent of $1 ended: $(tail -n 1 "$dir/agent.log")"
    fi
    [ $SECONDS -lt $end ] || die "waited 60 s in vain for the agent of $1 (see $dir/agent.log)"
    sleep 0.05
  done
}

# Nodes that are Ready as one node sees it, asked at its own API: ready_at NODE
ready_at() {
  kubectl --context "$1" get nodes --no-headers --request-timeout=5s 2>/dev/null | awk '$2 == "Ready" {n++} END {print n + 0}'
}
all_ready_at() { [ "$(ready_at "$1")" = "$2" ]; }

# Whether a node sees so many nodes that answer, Ready or not: all_answering_at NODE COUNT
all_answering_at() {
  local ready='{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
  [ "$(kubectl --context "$1" get nodes -o jsonpath="$ready" --request-timeout=5s 2>/dev/null | grep -cE 'True|False')" = "$2" ]
}

# Runs nft on the switch.
switch() { nsenter --net="/run/netns/$lab" nft "$@"; }

# The pairs of hosts whose frames the switch drops, one direction a line: "n1 n2" is from n1 to n2.
cut_pairs() {
  switch -j list set bridge cut pairs 2>/dev/null | grep -oE '\["v[0-9]+", "v[0-9]+"\]|\["v[0-9]+","v[0-9]+"\]' |
    sed -E 's/[^0-9]+([0-9]+)[^0-9]+([0-9]+)[^0-9]+/n\1 n\2/' | sort -V || true
}
# The hosts whose cable is pulled.
unplugged() {
  local node
  for node in $(nodes); do
    # The switch's end of the cable is down by our hand; else it is up, whatever the host does.
    ip -n "$lab" -o link show "$(port "$node")" up 2>/dev/null | grep . >/dev/null || echo "$node"
  done
}
