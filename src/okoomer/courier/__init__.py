"""The courier: a process beside the guard that runs commands and announces things, so that the guard never forks and
never speaks to a bus. It reads the events in the ring; whatever becomes of it, the guard goes on."""

from okoomer.courier.launch import Options as Options
from okoomer.courier.launch import Place as Place
from okoomer.courier.launch import become as become
from okoomer.courier.launch import start as start
from okoomer.courier.services import Services as Services
