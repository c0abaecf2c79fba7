# Read by each scenario after prelude.sh. LIMIT is how many seconds its incident may last.

# person VOICE COMMAND...: a program that somebody at the machine runs.
person() {
    _voice=$1
    shift
    SLICE=user-1000-app.slice start "$_voice" user "$@"
}

# service VOICE COMMAND...: a program of the system.
service() {
    _voice=$1
    shift
    SLICE=system.slice start "$_voice" daemon "$@"
}

# over VOICE...: waits until none of these programs runs any more, or the time is up.
over() {
    _groups=
    for _unit in "$@"; do
        _groups="$_groups $(group "$_unit")"
    done
    # shellcheck disable=SC2086
    /opt/lab/empty "$LIMIT" $_groups || echo "not over"
}

# clock: the kernel's monotonic clock, in seconds.
clock() {
    read -r _now _ </proc/uptime
    echo "$_now"
}

# cost WHEN UNIT: what the processes of a daemon have cost so far.
cost() {
    [ -n "$2" ] || return 0
    _own=$(systemctl show --value --property=ControlGroup "$2")
    [ -n "$_own" ] || return 0
    for _pid in $(cat "/sys/fs/cgroup$_own/cgroup.procs"); do
        echo "cost $1 $(awk '
            FILENAME ~ "status" { size[$1] = $2 }
            FILENAME ~ "/stat$" { sub(/.*\) /, ""); faults = $10; ticks = $12 + $13 }
            FILENAME ~ "schedstat" { waited = $2 }
            END {
                print size["VmRSS:"], size["VmHWM:"], size["RssAnon:"], ticks,
                    size["voluntary_ctxt_switches:"] + size["nonvoluntary_ctxt_switches:"], faults, waited
            }' "/proc/$_pid/status" "/proc/$_pid/stat" "/proc/$_pid/schedstat")"
    done
}
