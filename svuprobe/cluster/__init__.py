"""Run a suite's parts on a Dask cluster: ``svuprobe run SUITE --cluster ADDRESS``.

The process that was asked plans, writes the leaderboard and does no part itself. Each part is a
task of the scheduler and calls what a run without a cluster calls: it writes the same files into
the same folders, which every worker must see, under the same locks. So results are the same bytes,
a task whose worker died is simply run again, and a run whose scheduler died goes on from the files.

`addresses` connects; `facts` says what a worker is, and `checks` whether it will do; `parts` runs
on workers; `tasks` hands parts to the scheduler and watches them; `suite` says which parts a suite
has.
"""
