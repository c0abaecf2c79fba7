# Read by each daemon's lines, after the job's prelude.

# alone [UNIT...]: none of the OOM daemons in the image runs or can be started, except these units. All units are
# read again, those that came with the job too.
alone() {
    _rest=
    for _unit in earlyoom.service nohang.service nohang-desktop.service oomd.service systemd-oomd.service \
        systemd-oomd.socket; do
        case " $* " in
            *" $_unit "*) ;;
            *) _rest="$_rest $_unit" ;;
        esac
    done
    # Masked, not only stopped: PID 1 may start systemd-oomd by itself, and so does whoever calls it on the bus.
    # shellcheck disable=SC2086
    systemctl mask --quiet --runtime --now $_rest
    # shellcheck disable=SC2086
    if systemctl --quiet is-active $_rest; then
        echo "another daemon runs: $(systemctl is-active $_rest | tr '\n' ' ')of$_rest"
        return 1
    fi
}

# change FILE PATTERN TEXT: replaces the pattern everywhere in a file, and fails where there is nothing to replace: a
# setting that does not arrive would be measured as the default.
change() {
    grep -q -- "$2" "$1" || {
        echo "there is no '$2' in $1"
        return 1
    }
    sed -i "s#$2#$3#g" "$1"
}

# kmsg PATTERN: the voice "reason" says the kernel's messages that have this pattern.
kmsg() {
    start reason root grep --line-buffered -- "$1" /dev/kmsg
}
