"""Which users are people: those who have logins, and work that is theirs."""

#: Users from here on are people, those below are the system's (login.defs(5), SYS_UID_MAX).
PEOPLE = 1000
#: But not those that systemd makes up for services (DynamicUser=), nor nobody.
SERVICES = range(61184, 65536)


def is_person(user: int) -> bool:
    """Whether a user is neither root, nor the system's, nor a service's."""
    return user >= PEOPLE and user not in SERVICES
