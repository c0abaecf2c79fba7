"""Desktops as trees of processes, the way ps and /proc/PID/cgroup show them.

One line a process: mark, pid, parent, session, terminal (or -), user, MiB, then name, cgroup and command line between
bars. `$U` is the cgroup of the first user's manager, `$S` that of the login session's scope. Marks:

    #  holds the desktop together, which is known by what it is: it may have any name
    !  holds it together, known by its name
    +  an application, a job, or anything else that may end
    ~  so little that nobody looks at it
"""

from __future__ import annotations

from typing import NamedTuple

from okoomer.facts import Process
from okoomer.policy.family import ancestors
from okoomer.record import replace

MIB = 1024**2
#: Who is smaller is looked at only if somebody below is larger, and then without its size, as a scan does.
FLOOR = 4 * MIB

SYSTEM = r"""
!    1    0    1 -        0   14 | systemd         | /init.scope                             | /sbin/init
~  300    1  300 -        0    3 | systemd-udevd   | /system.slice/systemd-udevd.service     |
!  280    1  280 -        0   24 | systemd-journal | /system.slice/systemd-journald.service  |
!  410    1  410 -      101    5 | dbus-daemon     | /system.slice/dbus.service              | dbus-daemon --system
!  420    1  420 -        0    9 | NetworkManager  | /system.slice/NetworkManager.service    |
!  430    1  430 -        0    5 | systemd-logind  | /system.slice/systemd-logind.service    |
#  450    1  450 -        0   80 | packagekitd     | /system.slice/packagekit.service        | /usr/libexec/packagekitd
#  455  450  450 -        0  120 | pk-backend      | /system.slice/packagekit.service        | pk-backend refresh
+  470    1  470 -      110  300 | postgres        | /system.slice/postgresql@15-main.service| postgres -D /var/lib
"""

MANAGER = r"""
!  990    1  990 -     1000    6 | systemd         | $U/init.scope                           | systemd --user
~  991  990  990 -     1000    1 | (sd-pam)        | $U/init.scope                           | (sd-pam)
#  995  990  995 -     1000    5 | dbus-daemon     | $U/session.slice/dbus.service           | dbus-daemon --session
#  996  990  996 -     1000   12 | pipewire        | $U/session.slice/pipewire.service       | /usr/bin/pipewire
#  997  990  997 -     1000   11 | wireplumber     | $U/session.slice/wireplumber.service    |
#  998  990  998 -     1000    9 | pipewire-pulse  | $U/session.slice/pipewire-pulse.service |
#  999  990  999 -     1000    8 | xdg-desktop-por | $U/session.slice/xdg-desktop-portal.service |
"""

GNOME = r"""
#  600    1  600 -        0    6 | gdm3            | /system.slice/gdm.service               | /usr/sbin/gdm3
# 1100  600  600 -        0    5 | gdm-session-wor | $S                                      | gdm-session-worker
# 1110 1100 1110 tty2  1000    4 | gdm-wayland-ses | $S                                      | gdm-wayland-session
! 1115 1110 1110 tty2  1000    6 | gnome-session-b | $S                                      |
# 1190  990 1190 -     1000   14 | gnome-session-b | $U/session.slice/gnome-session-manager@gnome.service | --systemd
# 1200  990 1200 -     1000  420 | gnome-shell     | $U/session.slice/org.gnome.Shell@wayland.service | gnome-shell
! 1210 1200 1200 -     1000   70 | Xwayland        | $U/session.slice/org.gnome.Shell@wayland.service | Xwayland :0
! 1220 1200 1200 -     1000   12 | ibus-daemon     | $U/session.slice/org.gnome.Shell@wayland.service |
+ 1225 1200 1200 -     1000   45 | gjs             | $U/session.slice/org.gnome.Shell@wayland.service | gjs ding.js
# 1230  990 1230 -     1000   13 | gsd-power       | $U/session.slice/org.gnome.SettingsDaemon.Power.service |
# 1231  990 1231 -     1000   16 | gsd-media-keys  | $U/session.slice/org.gnome.SettingsDaemon.MediaKeys.service |
+ 1260  990 1260 -     1000   90 | tracker-miner-f | $U/background.slice/tracker-miner-fs-3.service |
+ 2000 1200 1200 -     1000  600 | firefox-esr     | $U/app.slice/app-gnome-firefox\x2desr-2000.scope | firefox-esr
+ 2010 2000 1200 -     1000  310 | Isolated Web Co | $U/app.slice/app-gnome-firefox\x2desr-2000.scope | -contentproc
+ 2011 2000 1200 -     1000  180 | Isolated Web Co | $U/app.slice/app-gnome-firefox\x2desr-2000.scope | -contentproc
+ 2100 1200 1200 -     1000  220 | slack           | $U/app.slice/app-gnome-slack-2100.scope | /usr/lib/slack/slack
+ 2110 2100 1200 -     1000  330 | slack           | $U/app.slice/app-gnome-slack-2100.scope | slack --type=renderer
+ 2200  990 2200 -     1000   95 | gedit           | $U/app.slice/app-gnome-org.gnome.gedit-2200.scope | gedit
+ 2300 1200 1200 -     1000  240 | steam           | $U/app.slice/app-gnome-steam-2300.scope | steam
+ 2310 2300 1200 -     1000 1400 | hl2_linux       | $U/app.slice/app-gnome-steam-2300.scope | hl2_linux -game
# 2400  990 2400 -     1000   60 | gnome-terminal- | $U/app.slice/gnome-terminal-server.service |
# 2410 2400 2410 pts/0 1000    5 | bash            | $U/app.slice/vte-spawn-aa.scope         | bash
+ 2420 2410 2410 pts/0 1000    9 | make            | $U/app.slice/vte-spawn-aa.scope         | make -j4
+ 2430 2420 2410 pts/0 1000  150 | cc1plus         | $U/app.slice/vte-spawn-aa.scope         | cc1plus -O2 one.cc
# 2500 2400 2500 pts/1 1000    5 | bash            | $U/app.slice/vte-spawn-bb.scope         | bash
! 2510 2500 2500 pts/1    0    5 | sudo            | $U/app.slice/vte-spawn-bb.scope         | sudo apt upgrade
! 2520 2510 2520 pts/2    0   90 | apt             | $U/app.slice/vte-spawn-bb.scope         | apt upgrade
! 2530 2520 2530 pts/3    0   40 | dpkg            | $U/app.slice/vte-spawn-bb.scope         | dpkg --configure -a
# 2540 2530 2530 pts/3    0    4 | linux-image-6.1 | $U/app.slice/vte-spawn-bb.scope         | /bin/sh postinst
# 2550 2540 2530 pts/3    0    5 | update-initramf | $U/app.slice/vte-spawn-bb.scope         |
# 2560 2550 2530 pts/3    0  250 | zstd            | $U/app.slice/vte-spawn-bb.scope         | zstd -q -19 -T0
"""

KDE = r"""
#  600    1  600 -        0    9 | sddm            | /system.slice/sddm.service              | /usr/bin/sddm
# 1100  600  600 -        0    8 | sddm-helper     | $S                                      | sddm-helper --user ann
# 1110 1100 1110 tty2  1000    9 | startplasma-way | $S                                      | startplasma-wayland
~ 1190  990 1190 -     1000    2 | kwin_wayland_wr | $U/session.slice/plasma-kwin_wayland.service |
# 1200 1190 1190 -     1000  310 | kwin_wayland    | $U/session.slice/plasma-kwin_wayland.service | kwin_wayland
! 1210 1190 1190 -     1000   80 | Xwayland        | $U/session.slice/plasma-kwin_wayland.service | Xwayland :1
# 1220  990 1220 -     1000  450 | plasmashell     | $U/session.slice/plasma-plasmashell.service | plasmashell
# 1230  990 1230 -     1000   20 | ksmserver       | $U/session.slice/plasma-ksmserver.service |
# 1231  990 1231 -     1000   35 | kded6           | $U/session.slice/plasma-kded6.service   |
+ 1260  990 1260 -     1000  130 | baloo_file      | $U/background.slice/kde-baloo.service   |
+ 2000 1220 1220 -     1000  520 | chromium        | $U/app.slice/app-chromium-2000.scope    | chromium
+ 2010 2000 1220 -     1000  300 | chromium        | $U/app.slice/app-chromium-2000.scope    | chromium --type=renderer
+ 2011 2000 1220 -     1000  120 | chromium        | $U/app.slice/app-chromium-2000.scope    | chromium --type=renderer
+ 2100  990 2100 -     1000  220 | slack           | $U/app.slice/app-slack@5f.service       | /usr/lib/slack/slack
+ 2110 2100 2100 -     1000  330 | slack           | $U/app.slice/app-slack@5f.service       | slack --type=renderer
+ 2200  990 2200 -     1000  140 | kate            | $U/app.slice/app-org.kde.kate@6a.service| kate
+ 2300 1220 1220 -     1000  240 | steam           | $U/app.slice/app-steam-2300.scope       | steam
+ 2310 2300 1220 -     1000 1400 | hl2_linux       | $U/app.slice/app-steam-2300.scope       | hl2_linux -game
# 2400  990 2400 -     1000   90 | konsole         | $U/app.slice/app-org.kde.konsole-2400.scope |
# 2410 2400 2410 pts/0 1000    6 | zsh             | $U/app.slice/app-org.kde.konsole-2400.scope/tab(2410).scope | zsh
+ 2420 2410 2410 pts/0 1000    9 | ninja           | $U/app.slice/app-org.kde.konsole-2400.scope/tab(2410).scope | ninja
+ 2430 2420 2410 pts/0 1000  150 | rustc           | $U/app.slice/app-org.kde.konsole-2400.scope/tab(2410).scope | rustc
# 2500 2400 2500 pts/1 1000    6 | zsh             | $U/app.slice/app-org.kde.konsole-2400.scope/tab(2500).scope | zsh
! 2510 2500 2500 pts/1    0    5 | sudo            | $U/app.slice/app-org.kde.konsole-2400.scope/tab(2500).scope |
! 2520 2510 2520 pts/2    0  280 | dnf5            | $U/app.slice/app-org.kde.konsole-2400.scope/tab(2500).scope |
# 2540 2520 2520 pts/2    0    4 | sh              | $U/app.slice/app-org.kde.konsole-2400.scope/tab(2500).scope |
# 2550 2540 2520 pts/2    0    6 | dracut          | $U/app.slice/app-org.kde.konsole-2400.scope/tab(2500).scope |
# 2560 2550 2520 pts/2    0  250 | zstd            | $U/app.slice/app-org.kde.konsole-2400.scope/tab(2500).scope |
"""

XFCE = r"""
#  600    1  600 -        0    7 | lightdm         | /system.slice/lightdm.service           | /usr/sbin/lightdm
#  610  600  610 tty7     0  130 | Xorg            | /system.slice/lightdm.service           | Xorg :0 vt7
# 1100  600  600 -        0    6 | lightdm         | $S                                      | lightdm --session-child
# 1200 1100 1200 -     1000   16 | xfce4-session   | $S                                      | xfce4-session
! 1210 1200 1200 -     1000   75 | xfwm4           | $S                                      | xfwm4
! 1220 1200 1200 -     1000   45 | xfce4-panel     | $S                                      | xfce4-panel
! 1230 1200 1200 -     1000   50 | xfdesktop       | $S                                      | xfdesktop
+ 1240 1200 1200 -     1000   40 | nm-applet       | $S                                      | nm-applet
+ 2000 1220 1200 -     1000  600 | firefox-esr     | $S                                      | firefox-esr
+ 2010 2000 1200 -     1000  310 | Isolated Web Co | $S                                      | -contentproc
+ 2011 2000 1200 -     1000  180 | Isolated Web Co | $S                                      | -contentproc
+ 2100 1220 1200 -     1000  220 | slack           | $S                                      | /usr/lib/slack/slack
+ 2110 2100 1200 -     1000  330 | slack           | $S                                      | slack --type=renderer
+ 2200 1230 1200 -     1000   70 | mousepad        | $S                                      | mousepad
+ 2300 1220 1200 -     1000  240 | steam           | $S                                      | steam
+ 2310 2300 1200 -     1000 1400 | hl2_linux       | $S                                      | hl2_linux -game
# 2400 1220 1200 -     1000   60 | xfce4-terminal  | $S                                      | xfce4-terminal
# 2410 2400 2410 pts/0 1000    5 | bash            | $S                                      | bash
+ 2420 2410 2410 pts/0 1000    9 | make            | $S                                      | make -j4
+ 2430 2420 2410 pts/0 1000  150 | cc1plus         | $S                                      | cc1plus -O2 one.cc
# 2500 2400 2500 pts/1 1000    5 | bash            | $S                                      | bash
! 2510 2500 2500 pts/1    0    5 | sudo            | $S                                      | sudo apt upgrade
! 2520 2510 2520 pts/2    0   90 | apt             | $S                                      | apt upgrade
! 2530 2520 2530 pts/3    0   40 | dpkg            | $S                                      | dpkg --configure -a
# 2540 2530 2530 pts/3    0    4 | linux-image-6.1 | $S                                      | /bin/sh postinst
# 2550 2540 2530 pts/3    0    5 | update-initramf | $S                                      |
# 2560 2550 2530 pts/3    0  250 | zstd            | $S                                      | zstd -q -19 -T0
"""

SWAY = r"""
#  600    1  600 -        0    5 | greetd          | /system.slice/greetd.service            | greetd
# 1100  600  600 -        0    5 | greetd          | $S                                      | greetd --session-worker
# 1200 1100 1200 tty1  1000  140 | sway            | $S                                      | sway
! 1210 1200 1200 tty1  1000   60 | Xwayland        | $S                                      | Xwayland :0
+ 1220    1 1219 -     1000   45 | waybar          | $S                                      | waybar
+ 2000    1 1999 -     1000  600 | firefox         | $S                                      | firefox
+ 2010 2000 1999 -     1000  310 | Isolated Web Co | $S                                      | -contentproc
+ 2011 2000 1999 -     1000  180 | Isolated Web Co | $S                                      | -contentproc
+ 2100    1 2099 -     1000  220 | slack           | $S                                      | /usr/lib/slack/slack
+ 2110 2100 2099 -     1000  330 | slack           | $S                                      | slack --type=renderer
+ 2200    1 2199 -     1000   70 | mousepad        | $S                                      | mousepad
+ 2300    1 2299 -     1000  240 | steam           | $S                                      | steam
+ 2310 2300 2299 -     1000 1400 | hl2_linux       | $S                                      | hl2_linux -game
# 2400    1 2399 -     1000   30 | foot            | $S                                      | foot
# 2410 2400 2410 pts/0 1000    5 | fish            | $S                                      | fish
+ 2420 2410 2410 pts/0 1000    9 | cargo           | $S                                      | cargo build
+ 2430 2420 2410 pts/0 1000  150 | rustc           | $S                                      | rustc --crate-name one
# 2450    1 2449 -     1000   30 | foot            | $S                                      | foot
# 2500 2450 2500 pts/1 1000    5 | fish            | $S                                      | fish
! 2510 2500 2500 pts/1    0    5 | sudo            | $S                                      | sudo pacman -Syu
! 2520 2510 2520 pts/2    0  120 | pacman          | $S                                      | pacman -Syu
# 2540 2520 2520 pts/2    0    4 | sh              | $S                                      | /bin/sh hook
# 2550 2540 2520 pts/2    0    5 | mkinitcpio      | $S                                      |
# 2560 2550 2520 pts/2    0  250 | zstd            | $S                                      | zstd -c -T0
"""

#: What a window manager starts leads sessions of its own, whoever started the window manager.
_WINDOWS = r"""
+ 1240 1200 1240 -     1000   20 | wmclockmon      | $S                                      | wmclockmon
+ 2000 1200 2000 -     1000  600 | firefox-esr     | $S                                      | firefox-esr
+ 2010 2000 2000 -     1000  310 | Isolated Web Co | $S                                      | -contentproc
+ 2011 2000 2000 -     1000  180 | Isolated Web Co | $S                                      | -contentproc
+ 2100 1200 2100 -     1000  220 | slack           | $S                                      | /usr/lib/slack/slack
+ 2110 2100 2100 -     1000  330 | slack           | $S                                      | slack --type=renderer
+ 2200 1200 2200 -     1000   60 | gvim            | $S                                      | gvim notes
+ 2300 1200 2300 -     1000  240 | steam           | $S                                      | steam
+ 2310 2300 2300 -     1000 1400 | hl2_linux       | $S                                      | hl2_linux -game
# 2400 1200 2400 -     1000   12 | xterm           | $S                                      | xterm
# 2410 2400 2410 pts/0 1000    5 | bash            | $S                                      | bash
+ 2420 2410 2410 pts/0 1000    9 | make            | $S                                      | make -j4
+ 2430 2420 2410 pts/0 1000  150 | cc1plus         | $S                                      | cc1plus -O2 one.cc
# 2450 1200 2450 -     1000   12 | xterm           | $S                                      | xterm
# 2500 2450 2500 pts/1 1000    5 | bash            | $S                                      | bash
! 2510 2500 2500 pts/1    0    5 | sudo            | $S                                      | sudo apt upgrade
! 2520 2510 2520 pts/2    0   90 | apt             | $S                                      | apt upgrade
! 2530 2520 2530 pts/3    0   40 | dpkg            | $S                                      | dpkg --configure -a
# 2540 2530 2530 pts/3    0    4 | linux-image-6.1 | $S                                      | /bin/sh postinst
# 2550 2540 2530 pts/3    0    5 | update-initramf | $S                                      |
# 2560 2550 2530 pts/3    0  250 | zstd            | $S                                      | zstd -q -19 -T0
"""

WMAKER_BY_XDM = (
    r"""
#  600    1  600 -        0    5 | xdm             | /system.slice/xdm.service               | /usr/bin/xdm
#  610  600  610 tty7     0  120 | Xorg            | /system.slice/xdm.service               | Xorg :0 vt7
# 1100  600 1100 -        0    5 | xdm             | $S                                      | -:0
# 1200 1100 1100 -     1000   25 | wmaker          | $S                                      | wmaker
"""
    + _WINDOWS
)

WMAKER_BY_STARTX = (
    r"""
# 1100    1 1100 tty1     0    5 | login           | $S                                      | /bin/login -p --
# 1110 1100 1100 tty1  1000    5 | bash            | $S                                      | -bash
~ 1120 1110 1100 tty1  1000    1 | startx          | $S                                      | /bin/sh /usr/bin/startx
~ 1130 1120 1100 tty1  1000    1 | xinit           | $S                                      | xinit /home/ann/.xinitrc
! 1140 1130 1100 tty1  1000  120 | Xorg            | $S                                      | Xorg :0 vt1 -keeptty
# 1200 1130 1100 tty1  1000   25 | wmaker          | $S                                      | wmaker
"""
    + _WINDOWS
)

#: Some logins keep the terminal and let the shell use it, others give the shell a session of its own.
WMAKER_BY_OTHER_LOGIN = WMAKER_BY_STARTX.replace("1100 tty1     0", "1100 -        0").replace("1100 tty1", "1110 tty1")


class Desktop(NamedTuple):
    """A machine with somebody at it, and the pids on it that hold the desktop together: all, and those of them that
    may have any name. On each, 1200 is the compositor, the window manager or the session, 2000 a browser with its tabs,
    2100 a program in one, 2200 an editor, 2310 a game, 2420 a build in a terminal, 2560 a part of a package's script.
    """

    processes: tuple[Process, ...]
    held: frozenset[int]
    any_name: frozenset[int]


def desktop(tree: str, number: int = 2) -> Desktop:
    """The machine that a tree draws, with the system's own services and the user's manager."""
    marks: dict[int, str] = {}
    processes = []
    for line in filter(None, (SYSTEM + MANAGER + tree).splitlines()):
        numbers, name, cgroup, command = (part.strip() for part in line.split("|"))
        mark, *fields = numbers.split()
        pid, parent, session, user, mib = (int(field) for field in (*fields[:3], *fields[4:]))
        user_slice = "/user.slice/user-1000.slice"
        cgroup = cgroup.replace("$U", f"{user_slice}/user@1000.service")
        marks[pid] = mark
        processes.append(
            Process(
                pid=pid,
                parent=parent,
                name=name,
                started=pid / 10,
                user=user,
                session=session,
                terminal=fields[3] != "-",
                anon=mib * MIB,
                growth=0.0,
                cgroup=cgroup.replace("$S", f"{user_slice}/session-{number}.scope"),
                command=command,
            )
        )
    any_name = frozenset(pid for pid, mark in marks.items() if mark == "#")
    held = any_name | {pid for pid, mark in marks.items() if mark == "!"}
    return Desktop(tuple(processes), held, any_name)


DESKTOPS = {
    "GNOME": desktop(GNOME),
    "KDE": desktop(KDE),
    "Xfce": desktop(XFCE),
    "sway": desktop(SWAY),
    "Window Maker by xdm": desktop(WMAKER_BY_XDM),
    "Window Maker by startx": desktop(WMAKER_BY_STARTX),
    "Window Maker by another login": desktop(WMAKER_BY_OTHER_LOGIN),
}


def without_names(machine: Desktop) -> Desktop:
    """The same machine with names that no list has, where something else than the name says what a process is."""
    wrappers = {process.parent for process in machine.processes if process.name == "kwin_wayland"}
    renamed = []
    for process in machine.processes:
        if process.pid in machine.any_name:
            process = replace(process, name="mycompositor" if process.pid == 1200 else f"program{process.pid}")
        elif process.pid in wrappers:
            process = replace(process, name="mycompositor_wr")
        renamed.append(process)
    return machine._replace(processes=tuple(renamed))


def seen(processes: tuple[Process, ...]) -> tuple[Process, ...]:
    """What a scan finds: those who hold something and, without their sizes, those above them."""
    by_pid = {process.pid: process for process in processes}
    large = {pid for pid, process in by_pid.items() if process.anon >= FLOOR}
    above = {pid for one in large for pid in ancestors(by_pid, one) if pid in by_pid} - large
    small = (replace(by_pid[pid], anon=0, growth=None, user=0) for pid in above)
    return (*(by_pid[pid] for pid in large), *small)


def ended(processes: tuple[Process, ...], pids: tuple[int, ...]) -> tuple[Process, ...]:
    """What is left once some have gone: orphans go to the user's manager, or to init where there is none above."""
    by_pid = {process.pid: process for process in processes}

    def heir(process: Process) -> int:
        above = process.parent
        while above in by_pid and above != 1 and by_pid[above].command != "systemd --user":
            above = by_pid[above].parent
        return above if above in by_pid and above not in pids else 1

    return tuple(
        replace(process, parent=heir(process)) if process.parent in pids else process
        for process in processes
        if process.pid not in pids
    )
