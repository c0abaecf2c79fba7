"""A slice is watched, and in it one is guilty. For daemons that know cgroups; the others have no part in these."""

from lab.run import Role, Swap
from lab.scenario import Part, Scenario

JOBS = 10
JOB = Part(r"job-\d+", Role.INNOCENT, 8)
SESSION = Part("tmux.*|sh|bash", Role.SESSION)

#: Who plays: each peer with what a scene asks for, okoomer in its place by the same settings, and by a rule of its own.
PLAYERS = ("systemd-oomd", "oomd-slices", "okoomer-systemd-oomd", "okoomer-oomd", "okoomer-slices")

# A login's scope, as systemd-logind makes it, with a multiplexer that has ten windows. The last job waits for its cue.
LOGIN = f"""
            cat >/usr/local/bin/last-job <<'END'
#!/bin/sh
until [ -e /tmp/go ]; do sleep 0.5; done
exec /opt/lab/grow --name hog --rate 100 --limit 4096 --touch all
END
            cat >/usr/local/bin/login <<'END'
#!/bin/sh
cd /tmp
tmux new-session -d -s work last-job
for n in $(seq {JOBS - 1}); do
    tmux new-window -d /opt/lab/grow --name job-$n --base 8 --touch cycle:4
done
END
            chmod 755 /usr/local/bin/last-job /usr/local/bin/login
            systemd-run --quiet --scope --unit=session-1 --slice=user-1000.slice --uid=1000 /usr/local/bin/login
            await 60 pgrep -x job-{JOBS - 1} >/dev/null
            # When tmux ends, jobs end by a signal that is not fatal by itself.
            lost_jobs() {{ echo "lost $(({JOBS - 1} - $(pgrep -c '^job-' || true))) of {JOBS - 1} jobs"; }}
"""
# At run time: PID 1 starts systemd-oomd by itself for a unit that asks for it when it is loaded.
WATCH = "systemctl set-property --runtime {slice} ManagedOOMMemoryPressure=kill ManagedOOMMemoryPressureLimit=10%"

SCENARIOS = (
    Scenario(
        name="S17-slice",
        title="A slice under pressure",
        story="""A slice is watched for pressure, and one of its two services thrashes against what the slice may have.
        That service should end, but not its quiet sibling, nor a login with ten jobs that is somewhere else.""",
        swaps=(Swap.DISK,),
        cast=(Part("guilty", Role.CULPRIT), Part("quiet", Role.INNOCENT, 40), JOB, SESSION),
        before=f"""
            systemctl start work.slice
            {WATCH.format(slice="work.slice")} MemoryMax=250M
            SLICE=work.slice start quiet user /opt/lab/grow --name quiet --base 40 --touch cycle:4
            await 60 holds quiet 40
            {LOGIN}
        """,
        act="""
            SLICE=work.slice start guilty user /opt/lab/grow --name guilty --rate 100 --limit 400 --touch all
            over guilty
            lost_jobs
        """,
        voices=("quiet", "guilty"),
        limit_s=75,
        enough=1,
        daemons=PLAYERS,
    ),
    Scenario(
        name="S17-session",
        title="One job of ten in a login",
        story="""All that people run is watched for pressure, and in a login's tmux one of ten jobs takes all memory. It
        should end. The session, the multiplexer and nine jobs are in the same cgroup.""",
        swaps=(Swap.DISK,),
        cast=(Part("hog", Role.CULPRIT), JOB, SESSION),
        before=f"""
            systemctl start user.slice
            {WATCH.format(slice="user.slice")}
            {LOGIN}
            gone() {{ [ ! -d "/proc/$1" ]; }}
        """,
        act="""
            touch /tmp/go
            await 20 pgrep -x hog >/dev/null
            await "$LIMIT" gone "$(pgrep -x hog)"
            lost_jobs
        """,
        limit_s=75,
        daemons=PLAYERS,
    ),
)
