"""An application that is told when memory is short, by GLib; each level is said, and nothing else of GLib is used."""

from gi.repository import Gio, GLib  # type: ignore[import-not-found]

monitor = Gio.MemoryMonitor.dup_default()
monitor.connect("low-memory-warning", lambda _, level: print(f"level {int(level)}", flush=True))
print(f"listens by {type(monitor).__gtype__.name}", flush=True)
GLib.MainLoop().run()
