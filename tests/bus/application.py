"""An application that is told when memory is short: GLib's own monitor, and nothing of okoomer. Run by Debian's Python.

It says by what it listens; each time that the warnings have an owner whom it hears; and each level with its time.
"""

import time

from gi.repository import Gio, GLib  # type: ignore[import-not-found]

NAME, PATH = "org.freedesktop.LowMemoryMonitor", "/org/freedesktop/LowMemoryMonitor"


def say(*words: object) -> None:
    print(*words, flush=True)


def followed(_source: object, result: Gio.AsyncResult) -> None:
    Gio.DBusProxy.new_finish(result)
    say("follows")


def appeared(connection: Gio.DBusConnection, name: str, _owner: str) -> None:
    # Begun after the monitor's own, and takes a question more: when it is there, so is that.
    Gio.DBusProxy.new(connection, Gio.DBusProxyFlags.NONE, None, name, PATH, name, None, followed)


monitor = Gio.MemoryMonitor.dup_default()
monitor.connect("low-memory-warning", lambda _, level: say("level", int(level), time.time()))
say("listens", type(monitor).__gtype__.name)
Gio.bus_watch_name(Gio.BusType.SYSTEM, NAME, Gio.BusNameWatcherFlags.NONE, appeared, None)
GLib.MainLoop().run()
