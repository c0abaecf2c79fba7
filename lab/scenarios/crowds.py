"""Many programs together need more than there is; some of them matter."""

from lab.run import Role, Swap
from lab.scenario import Part, Scenario

DATABASE = Part("database", Role.INNOCENT, 350)

SCENARIOS = (
    Scenario(
        name="S5-children",
        title="Twenty growing children beside a database",
        story="""One parent, twenty children of 60 MiB each in the end, and a database of 350 MiB that is the largest
        process by far, and innocent.""",
        swaps=(Swap.NONE,),
        cast=(Part("child|children|grow", Role.CULPRIT), DATABASE),
        before="""
            service database /opt/lab/grow --name database --base 350 --touch cycle:4
            await 60 holds database 350
        """,
        act="""
            person hog /opt/lab/children 20 -- /opt/lab/grow --name child --rate 3 --limit 60
            over hog
        """,
        voices=("hog", "database"),
    ),
    Scenario(
        name="S5-containers",
        title="200 small growers in 50 cgroups",
        story="A fragmented hog, as on a host of containers: none is large, and none is the culprit by itself.",
        swaps=(Swap.ZRAM,),
        cast=(Part("container|children|grow", Role.CULPRIT), Part("database", Role.INNOCENT, 120)),
        before="""
            mkdir /sys/fs/cgroup/machine.slice
            echo '+memory' >/sys/fs/cgroup/machine.slice/cgroup.subtree_control
            service database /opt/lab/grow --name database --base 120 --touch cycle:4
            await 60 holds database 120
        """,
        act="""
            SLICE=system.slice start hog root /opt/lab/children 200 --groups 50 \\
                --under /sys/fs/cgroup/machine.slice --user 1000 -- \\
                /opt/lab/grow --name container --rate 1 --limit 20
            over hog
        """,
        voices=("hog", "database"),
    ),
    Scenario(
        name="S6",
        title="A build with 32 jobs",
        story="""32 compilers of 60 MiB, of which a third fits at a time. Who ends one loses its work; run in turn they
        would all finish.""",
        swaps=(Swap.ZRAM, Swap.NONE),
        cast=(Part(r"job-\d+", Role.WORKER, 60), Part("build", Role.CULPRIT)),
        act="""
            person hog /opt/lab/build 32 60 8
            over hog
        """,
        limit_s=70,
    ),
    Scenario(
        name="S7",
        title="A browser that opens tab after tab",
        story="""A parent, the tab in front, and tabs in the background with the oom_score_adj that browsers give them.
        Background tabs may go, one by one; the one in front and the browser may not.""",
        swaps=(Swap.NONE,),
        cast=(
            Part("tab-back", Role.CULPRIT),
            Part("tab-front", Role.INNOCENT, 60),
            Part("browser", Role.INNOCENT, 60),
        ),
        before="""
            person browser /opt/lab/browser 8 25 40
            await 60 holds browser 300
        """,
        act="""
            systemctl kill --kill-who=main --signal=USR1 browser
            sleep 22
        """,
        voices=("browser",),
        limit_s=40,
    ),
    Scenario(
        name="S10",
        title="Two working sets of 80 % each",
        story="""Each fits by itself, both together thrash on disk swap. One may be ended, or made to wait; then the
        other finishes in 10 s.""",
        swaps=(Swap.DISK,),
        cast=(Part("set-a|set-b", Role.WORKER, 560),),
        act="""
            person first /opt/lab/worker set-a 560 10
            person second /opt/lab/worker set-b 560 10
            over first second
        """,
        voices=("first", "second"),
        limit_s=60,
        enough=1,
    ),
    Scenario(
        name="S15",
        title="tmux, an agent, and its tool",
        story="""In a terminal multiplexer runs a small agent, and what it has started balloons. The tool may die;
        the agent, the editor in the next window and the multiplexer may not.""",
        swaps=(Swap.NONE,),
        cast=(
            Part("tool", Role.CULPRIT),
            Part("agent", Role.INNOCENT),
            Part("editor", Role.INNOCENT, 60),
            Part("tmux.*|sh|terminal", Role.SESSION),
        ),
        before="""
            cat >/usr/local/bin/agent <<'END'
#!/bin/sh
until [ -e /tmp/go ]; do sleep 0.5; done
/opt/lab/grow --name tool --rate 60 --limit 4096
touch /tmp/over
sleep 1000
END
            cat >/usr/local/bin/terminal <<'END'
#!/bin/sh
cd /tmp
tmux new-session -d -s work agent
tmux new-window -d /opt/lab/grow --name editor --base 60 --touch cycle:4
sleep 1000
END
            chmod 755 /usr/local/bin/agent /usr/local/bin/terminal
            person terminal /usr/local/bin/terminal
            await 60 holds terminal 60
        """,
        act="""
            touch /tmp/go
            await "$LIMIT" test -e /tmp/over || echo "not over"
        """,
        voices=("terminal",),
        limit_s=40,
    ),
    Scenario(
        name="S18",
        title="Sixteen workers, of which six fit",
        story="""A job of sixteen workers of 80 MiB each, which come back to what they have until their work is done:
        8 s each where nothing is in the way. Six fit at a time, so that in turns all are done in about 26 s.""",
        swaps=(Swap.DISK, Swap.ZRAM, Swap.NONE),
        cast=(Part(r"job-\d+", Role.WORKER, 80), Part("build", Role.CULPRIT)),
        act="""
            person hog /opt/lab/build 16 80 8
            over hog
        """,
        limit_s=110,
        daemons=("none", "earlyoom", "nohang-desktop", "okoomer", "okoomer-server"),
    ),
    Scenario(
        name="S18-six",
        title="Six of them alone",
        story="What S18 is measured by: six workers, which fit.",
        swaps=(Swap.DISK,),
        cast=(Part(r"job-\d+", Role.WORKER, 80), Part("build", Role.CULPRIT)),
        act="""
            person hog /opt/lab/build 6 80 8
            over hog
        """,
        limit_s=60,
        daemons=("none", "okoomer"),
    ),
    Scenario(
        name="S18-two",
        title="Two users, each with ten workers",
        story="Two users build at the same time. Both are done, and neither long after the other.",
        swaps=(Swap.DISK,),
        cast=(Part(r"job-\d+", Role.WORKER, 80), Part("build", Role.CULPRIT)),
        act="""
            person first /opt/lab/build 10 80 8
            service second /opt/lab/build 10 80 8
            over first second
        """,
        voices=("first", "second"),
        limit_s=110,
        daemons=("none", "okoomer"),
    ),
)
