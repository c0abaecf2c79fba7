# Read by each job's script before its own lines.

# start VOICE USER COMMAND...: runs a command as a service of its own in the slice $SLICE, as programs run on a real
# machine (an OOM daemon sees a unit, a cgroup, a user), and with its voice as output.
start() {
    _voice=$1 _user=$2
    shift 2
    systemd-run --quiet --unit="$_voice" --slice="${SLICE:-vm.slice}" --property=User="$_user" \
        --property=OOMPolicy=continue \
        --property=StandardOutput="append:/job/voices/$_voice" --property=StandardError=inherit \
        /bin/sh -c 'echo started; exec "$@"' sh "$@"
}

# await SECONDS COMMAND...: runs a command again and again until it succeeds; says so if it never does.
await() {
    _tries=$(($1 * 5))
    shift
    until "$@"; do
        _tries=$((_tries - 1))
        if [ "$_tries" -le 0 ]; then
            echo "waited in vain: $*"
            return 1
        fi
        sleep 0.2
    done
}

# group UNIT: the cgroup of a service, in whatever slice it is.
group() {
    for _group in /sys/fs/cgroup/*/"$1.service" /sys/fs/cgroup/*/*/"$1.service" /sys/fs/cgroup/*/*/*/"$1.service"; do
        [ ! -d "$_group" ] || echo "$_group"
    done
}

# locked UNIT: true when a process of the unit has locked its memory. So a guard shows that it is ready.
locked() {
    for _pid in $(cat "$(group "$1")/cgroup.procs"); do
        grep -q '^VmLck:.*[1-9]' "/proc/$_pid/status" && return
    done
    return 1
}

# holds UNIT SIZE: true when the unit has SIZE MiB of memory.
holds() {
    [ "$(cat "$(group "$1")/memory.current")" -ge $(($2 * 1048576)) ]
}

# ended UNIT: true when a service has come to its end.
ended() {
    ! systemctl --quiet is-active "$1.service"
}
