"""What the master decides, and what it owns.

fleet.py           the plan: which worker is in which state, and what has to happen next
templates.py       the part of the plan that is about templates and generations
slots.py           the states, and the table of what may follow what
actions.py         what the plan orders
executor.py        carries it out
children.py        the processes: their channels, pids and memfds
spare.py           the process that becomes the next template
launch.py          start a template's process
inbox.py           the master's end of a channel: what a child may say
child_messages.py  what the messages of children mean
deaths.py          what follows when a process has ended
boot_failures.py   what could not boot, and why
worker_watch.py    heartbeats and memory of the workers
listeners.py       the listening sockets: opened, lent, handed over, closed
reuse_port.py      --reuse-port: which worker accepts from which socket
announcement.py    what the log says when a server starts
rehearsal.py       SIGUSR2: the new code starts once with --check
upgrade.py         SIGUSR2: the master executes itself anew
systemd.py         what systemd wants to know
daemon.py          --daemonize
pidfile.py         --pidfile
backoff.py         how long a failed attempt waits for its next try
retry.py           what the kernel refuses the master: survived, and tried again
once.py            what counts once, however many processes report it
"""
