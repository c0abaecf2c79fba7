"""What a courier offers besides what the policy asks for: the part of its configuration that is not the guard's."""

from __future__ import annotations

from okoomer.record import Record

#: When announcements are made for systembus-notify: not at all, only while no agent of a desktop is there, always.
NEVER, AUTO, ALWAYS = "never", "auto", "always"


class Services(Record):
    """The services.

    Args:
        low_memory_monitor: org.freedesktop.LowMemoryMonitor on the system bus.
        okoomer1: org.okoomer.Okoomer1 there.
        system_notifications: When net.nuetzlich.SystemNotifications are sent: NEVER, AUTO or ALWAYS.
        pressure_watch: A socket for MEMORY_PRESSURE_WATCH.
        metrics: Where Prometheus reads ("127.0.0.1:9779", "[::1]:9779", "unix:PATH"), "" for nowhere.
        wall: Tell those who are logged in at terminals.
        mail: To whom mail is sent, "" for nobody.
    """

    low_memory_monitor: bool = True
    okoomer1: bool = True
    system_notifications: str = AUTO
    pressure_watch: bool = True
    metrics: str = ""
    wall: bool = False
    mail: str = ""
