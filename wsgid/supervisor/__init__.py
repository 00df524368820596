"""What the master decides, and what it owns.

fleet.py           the plan: the states of workers, and what has to happen next
templates.py       the part of the plan for templates and generations
scaling.py         --workers-min: how many workers the load needs
load_watch.py      looks at the load for it
slots.py           the states, and the table of transitions
actions.py         the plan's orders
executor.py        carries the orders out
children.py        the processes: their channels, pids and memfds
spare.py           the process that becomes the next template
launch.py          starts the process of a template
inbox.py           the master's end of a channel, and what a child may send
child_messages.py  handles the messages of children
deaths.py          handles the end of a process
boot_failures.py   what could not boot, and why
leader.py          which worker calls what only one worker calls
worker_watch.py    heartbeats and memory of the workers
listeners.py       the listening sockets: opened, lent, handed over, closed
reuse_port.py      --reuse-port: which worker accepts from which socket
announcement.py    what the log says when a server starts
rehearsal.py       SIGUSR2: the new code starts once with --check
upgrade.py         SIGUSR2: the master executes itself anew
systemd.py         notifications to systemd
daemon.py          --daemonize
pidfile.py         --pidfile
attached.py        the commands of --attach-daemon
backoff.py         how long a failed attempt waits for its next try
retry.py           what happens after a refusal of the kernel
once.py            what counts once, however many processes report it
"""
