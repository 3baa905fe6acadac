#!/bin/sh
# Brings this machine to where the demo and the tests can run: a Docker engine
# that is a swarm manager, git, an Alertmanager, a registry and age. It installs
# what is missing from Debian's packages, starts what does not run, and leaves
# alone what is there. It may run any number of times.
set -eu

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

# need NAME PACKAGE: the package is wanted unless the command is there.
missing=""
need() {
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

need docker docker.io
need dockerd docker.io
need git git
need prometheus-alertmanager prometheus-alertmanager
need docker-registry docker-registry
need age-keygen age

command -v go >/dev/null 2>&1 || die "go is missing: install the version that go.mod names from https://go.dev/dl"

if [ -n "$missing" ]; then
	[ "$(id -u)" = 0 ] || die "missing:$missing; run as root, or: apt-get install$missing"
	command -v apt-get >/dev/null 2>&1 || die "missing:$missing; there is no apt-get here: install them by hand"
	say "installing$missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq || die "apt-get update failed: are Debian's packages in reach?"
	# Services of these packages are not wanted: the tests start their own.
	policy=/usr/sbin/policy-rc.d
	made=""
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 0755 "$policy"
		made=yes
	fi
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing iptables ca-certificates >/dev/null || {
		[ -z "$made" ] || rm -f "$policy"
		die "apt-get install$missing failed"
	}
	[ -z "$made" ] || rm -f "$policy"
fi

running() { docker info >/dev/null 2>&1; }

if ! running; then
	[ -z "${DOCKER_HOST:-}" ] || die "no engine answers at DOCKER_HOST=$DOCKER_HOST"
	[ "$(id -u)" = 0 ] || die "no Docker engine answers; start one, or run as root"
	log=/var/log/skep-dockerd.log
	say "starting dockerd (log: $log)"
	if [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1; then
		systemctl start docker.service || die "systemctl start docker failed: journalctl -u docker"
	else
		nohup dockerd >"$log" 2>&1 </dev/null &
	fi
	tries=0
	until running; do
		tries=$((tries + 1))
		[ "$tries" -le 60 ] || die "dockerd does not answer after 60 s: see $log"
		sleep 1
	done
fi

state=$(docker info --format '{{.Swarm.LocalNodeState}}')
case $state in
active)
	[ "$(docker info --format '{{.Swarm.ControlAvailable}}')" = true ] || die "this node is a worker of a swarm: the tests need a manager"
	;;
inactive)
	say "initialising a swarm on 127.0.0.1"
	docker swarm init --advertise-addr 127.0.0.1 >/dev/null || die "docker swarm init failed"
	;;
*)
	die "the swarm is $state: docker swarm leave --force, or unlock it"
	;;
esac

say "engine $(docker version --format '{{.Server.Version}}'), $(go version | cut -d' ' -f3), $(git --version | cut -d' ' -f3)"
