"""Nothing is wrong, however it may look: whoever is killed is killed for nothing."""

from lab.run import Role, Swap
from lab.scenario import Part, Scenario

ANYBODY = (Part(".*", Role.INNOCENT),)

SCENARIOS = (
    Scenario(
        name="S13-disk",
        title="A copy, a cold start, a jump of the clock",
        story="""A file of 400 MB is written; a program of 500 MiB pushes 250 MiB of cold memory to swap, once, and runs
        on; the clock jumps by an hour and back.""",
        swaps=(Swap.DISK,),
        cast=ANYBODY,
        before="""
            person cold /opt/lab/grow --name cold --base 250
            await 60 holds cold 250
        """,
        act="""
            echo phase copy
            dd if=/dev/zero of=/var/tmp/copy bs=1M count=400 2>/dev/null
            rm /var/tmp/copy
            echo phase cold
            person job /opt/lab/grow --name job --rate 40 --limit 500 --touch cycle:1 --hold 5
            over job
            echo phase clock
            date -s '+1 hour' >/dev/null
            sleep 2
            date -s '-1 hour' >/dev/null
            sleep 2
        """,
        voices=("cold", "job"),
        limit_s=75,
        benign=True,
    ),
    Scenario(
        name="S13-locked",
        title="60 % of memory is locked",
        story="A virtual machine or a database has locked 60 % of memory, and beside it a file is written.",
        swaps=(Swap.NONE,),
        cast=ANYBODY,
        before="""
            SLICE=system.slice start locked root /opt/lab/grow --name locked --base 450 --locked
            await 60 holds locked 450
        """,
        act="""
            dd if=/dev/zero of=/var/tmp/copy bs=1M count=300 2>/dev/null
            sleep 4
        """,
        voices=("locked",),
        limit_s=40,
        benign=True,
    ),
    Scenario(
        name="S13-zram",
        title="zram is full, of what nobody uses",
        story="""zram has next to no room left, since 500 MiB of idle memory were put there in good time; a third of
        memory is available.""",
        swaps=(Swap.ZRAM,),
        cast=ANYBODY,
        before="""
            person idle /opt/lab/grow --name idle --base 600
            await 60 holds idle 600
            echo 490M >"$(group idle)/memory.reclaim" || true
        """,
        act="""
            awk '/^(MemAvailable|SwapFree)/ { print "phase", $1, int($2 / 1024), "MiB" }' /proc/meminfo
            sleep 12
        """,
        voices=("idle",),
        swap_mib={Swap.ZRAM: 512},
        limit_s=30,
        benign=True,
    ),
    Scenario(
        name="S14",
        title="A container against its own limit",
        story="A container of 200 MiB needs 300 and thrashes. It hurts nobody else, and is nobody else's business.",
        swaps=(Swap.DISK,),
        cast=ANYBODY,
        act="""
            service container /bin/sh -c 'sleep 1; exec /opt/lab/grow --name inside --rate 100 --limit 300 --touch all'
            systemctl set-property --runtime container.service MemoryMax=200M
            sleep 22
        """,
        voices=("container",),
        limit_s=40,
        benign=True,
    ),
)
