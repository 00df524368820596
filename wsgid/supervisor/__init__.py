"""What the master decides, and what it owns.

fleet.py       the plan: which template and worker is in which state, and what has to happen next
slots.py       the states, and the table of what may follow what
inbox.py       the master's end of a channel: what a child may say
launch.py      start a template's process
upgrade.py     SIGUSR2: the master executes itself anew
reuse_port.py  --reuse-port: which worker accepts from which socket
systemd.py     what systemd wants to know
daemon.py      --daemonize
pidfile.py     --pidfile
"""
