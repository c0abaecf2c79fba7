"""One program takes all the memory, or many of a kind do."""

from lab.run import Role, Swap
from lab.scenario import Part, Scenario

HOG = Part("hog", Role.CULPRIT)

SCENARIOS = (
    Scenario(
        name="S1",
        title="tail /dev/zero",
        story="The classic: one process takes memory as fast as it can. It should end, soon, and nothing else.",
        swaps=(Swap.NONE, Swap.DISK),
        cast=(Part("tail", Role.CULPRIT),),
        act="""
            person hog tail /dev/zero
            over hog
        """,
    ),
    Scenario(
        name="S2-leak",
        title="A leak of 20 MB/s",
        story="A program that holds 400 MiB leaks: there is time to act before anybody feels it.",
        swaps=(Swap.NONE,),
        cast=(HOG,),
        act="""
            person hog /opt/lab/grow --name hog --base 400 --rate 20 --limit 4096
            over hog
        """,
    ),
    Scenario(
        name="S2-churn",
        title="A leak that touches all it has",
        story="100 MB/s, and every page again and again: with swap the machine thrashes long before it is full.",
        swaps=(Swap.DISK, Swap.ZRAM),
        cast=(HOG,),
        act="""
            person hog /opt/lab/grow --name hog --rate 100 --limit 4096 --touch all
            over hog
        """,
    ),
    Scenario(
        name="S3",
        title="All but 16 MiB, and no more",
        story="A program stops just before the end: the kernel's killer never comes, and all file pages go round.",
        swaps=(Swap.NONE,),
        cast=(HOG,),
        act="""
            left=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
            person hog /opt/lab/grow --name hog --rate 200 --limit $((left - 16)) --touch cycle:2
            over hog
        """,
        limit_s=30,
    ),
    Scenario(
        name="S4",
        title="stress-ng: brk, stack, bigheap",
        story="Fedora's own test case, without the oom_score_adj by which stress-ng offers itself as a victim.",
        swaps=(Swap.ZRAM,),
        cast=(Part("stress-ng.*", Role.CULPRIT),),
        act="""
            person hog stress-ng --no-oom-adjust --oomable --brk 2 --stack 2 --bigheap 2 --timeout 60s --temp-path /tmp
            over hog
        """,
    ),
    Scenario(
        name="S8",
        title="60 tails at once",
        story="Sixty processes fill memory together: whoever ends them one by one is late.",
        swaps=(Swap.NONE,),
        cast=(Part("tail|children", Role.CULPRIT),),
        act="""
            person hog /opt/lab/children 60 -- tail /dev/zero
            over hog
        """,
    ),
    Scenario(
        name="S9",
        title="A file in memory (tmpfs)",
        story="""A program writes a file to a tmpfs without end. To end it stops the growth, but frees nothing; nor does
        the end of anybody else.""",
        swaps=(Swap.NONE,),
        cast=(Part("writer", Role.CULPRIT), Part("editor", Role.INNOCENT, 60), Part("database", Role.INNOCENT, 120)),
        before="""
            mkdir /mnt/memory
            mount -t tmpfs -o size=4g,mode=1777 tmpfs /mnt/memory
            person editor /opt/lab/grow --name editor --base 60 --touch cycle:4
            service database /opt/lab/grow --name database --base 120 --touch cycle:4
            await 60 holds database 120
        """,
        act="""
            person hog /opt/lab/fillfile /mnt/memory/file 100 4096
            over hog
            sleep 8
        """,
        voices=("hog", "editor", "database"),
        limit_s=25,
    ),
    Scenario(
        name="S11",
        title="Busy processors, a hog at nice 19",
        story="Four busy loops on two processors: who is killed at nice 19 takes its time to die, and to give back.",
        swaps=(Swap.NONE,),
        cast=(HOG,),
        before="service busy /opt/lab/busy 4",
        act="""
            person hog /opt/lab/grow --name hog --rate 150 --limit 4096 --nice 19
            over hog
        """,
        voices=("hog", "busy"),
    ),
    Scenario(
        name="S12",
        title="Odd victims",
        story="""Four hogs, one after another: with 200 threads, in a debugger, one that is stopped, and one that
        ignores SIGTERM. Each gets 15 s.""",
        swaps=(Swap.NONE,),
        cast=(Part("threads|traced|tracer|stopped|second|stubborn", Role.CULPRIT),),
        act="""
            LIMIT=15
            person threads /opt/lab/grow --name threads --rate 150 --limit 4096 --threads 200
            over threads
            person traced /opt/lab/tracer /opt/lab/grow --name traced --rate 150 --limit 4096
            over traced
            person stopped /opt/lab/grow --name stopped --rate 150 --limit 4096 --stop-at 400
            person second /opt/lab/grow --name second --rate 150 --limit 500
            over stopped
            systemctl kill --signal=KILL traced stopped second 2>/dev/null || true
            person stubborn /opt/lab/grow --name stubborn --rate 150 --limit 4096 --ignore-term
            over stubborn
        """,
        voices=("threads", "traced", "stopped", "second", "stubborn"),
        limit_s=65,
    ),
    Scenario(
        name="S16",
        title="Hardship: a late start among 5,000",
        story="The daemon is started when 5,000 processes are there and memory is all but gone.",
        swaps=(Swap.NONE,),
        cast=(HOG, Part("multitude", Role.INNOCENT)),
        before="""
            service multitude /opt/lab/multitude 5000
            await 120 grep -q '^populated 1' "$(group multitude)/cgroup.events"
        """,
        act="""
            left=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
            person hog /opt/lab/grow --name hog --base $((left - 60)) --rate 5 --limit 4096
            sleep 2
            start_daemon
            over hog
        """,
        voices=("hog", "multitude"),
        limit_s=60,
        daemon_late=True,
    ),
    Scenario(
        name="S19",
        title="A hog that its owner may want to keep",
        story="""One process takes 100 MB/s and comes back to all it has; its owner may be asked. It need not end soon,
        as long as nobody else feels it.""",
        swaps=(Swap.DISK, Swap.ZRAM, Swap.NONE),
        cast=(HOG,),
        act="""
            person hog /opt/lab/grow --name hog --rate 100 --limit 4096 --touch all
            over hog
        """,
        limit_s=70,
        daemons=("none", "earlyoom", "nohang-desktop", "okoomer", "okoomer-server"),
    ),
)
