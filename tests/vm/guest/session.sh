# Read by the jobs that have somebody logged in, after the prelude.

# Whatever fails, the journal knows more.
trap '[ $? = 0 ] || journalctl --boot --unit okoomer --unit okoomer-courier --output cat --lines 50' EXIT

# login USER: the user logs in, as at a terminal: PAM, logind, a manager and a bus of its own.
login() {
    systemd-run --quiet --unit="login-$1" --property=User="$1" --property=PAMName=login sleep infinity
    await 120 test -S "/run/user/$(id -u "$1")/bus"
}

# inside USER COMMAND...: runs a command as a user who is logged in.
inside() {
    _user=$1
    shift
    setpriv --reuid="$_user" --regid="$_user" --init-groups env HOME="/home/$_user" \
        XDG_RUNTIME_DIR="/run/user/$(id -u "$_user")" \
        DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$(id -u "$_user")/bus" "$@"
}

# graphical USER: the user's session has what a desktop has: its target, and a server for notifications with buttons.
# What is shown stands in $shown, a line of JSON each, and is said by the voice "screen".
graphical() {
    shown=/run/user/$(id -u "$1")/shown
    : >"$shown"
    chown "$1" "$shown"
    _bus=unix:path=/run/user/$(id -u "$1")/bus
    start screen "$1" env DBUS_SESSION_BUS_ADDRESS="$_bus" python3 -B /job/screen.py "$shown"
    await 120 inside "$1" busctl --user status org.freedesktop.Notifications >/dev/null 2>&1
    inside "$1" systemctl --user start test-session.target
}

# shows PATTERN: true when something has been shown that matches, since the last `seen`.
shows() {
    tail -n "+$((${_seen:-0} + 1))" "$shown" | grep -qE -- "$1"
}

# seen: what has been shown so far is not looked at any more.
seen() {
    _seen=$(wc -l <"$shown")
}

# press KEY: somebody presses this button, on the newest notification that has it.
press() {
    echo "$1" >"$shown.press"
}
