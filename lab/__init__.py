"""The scoreboard: real exhaustion in a virtual machine, the same for every OOM daemon, and what it did to whom.

    scenarios/    what happens in the guest, to whom, and who may die of it
    daemons/      who guards it, with which settings
    guest/        the programs that fill memory, and the canaries that feel it
    stage.py      one scenario with one daemon as a job for the guest
    observe.py    what a guest said, as data
    run.py        what one run showed: the raw data, a JSON line each
    figures.py    what follows from it: pure, so a figure can be defined anew without running anything again
    matrix.py     which runs there are to be, and those that are still missing
    summary.py    one run, for a person

    board.py      all runs: medians, ranks, sums
    behind.py     where okoomer is not first
    front.py      the sweep of each daemon's main threshold
    beside.py     scenes that only some daemons play
    columns.py, upkeep.py, facts.py   what the tables show
    charts.py, curves.py              the pictures
    table.py      docs/scoreboard.md
    page.py       the page
    results/      the published runs

``make lab`` runs what is missing and writes the page; ``python -m lab run S1 okoomer`` runs one cell.
"""
