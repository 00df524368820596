"""wsgidctl: see and steer a running wsgid, over its control socket.

main.py          the command line, and the list of subcommands
commands/        one subcommand each
client.py        find the control socket, ask, get the answer
answers.py       ask all workers, and say why some do not answer
tables.py        words and tables; nothing from outside reaches the terminal as it came
troubles.py      what is wrong, in words
profile_data.py  what `profile` gets
flamegraph.py    and draws
"""
