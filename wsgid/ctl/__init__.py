"""wsgidctl: see and steer a running wsgid, over its control socket.

main.py      the command line, and the list of subcommands
client.py    find the control socket, ask, get the answer
answers.py   ask all workers, and say why some do not answer
text.py      words and tables; nothing from outside reaches the terminal as it came
troubles.py  what is wrong, in words
sample.py    what top shows; frame.py draws it, with Rich
the others   one subcommand each, or a few that belong together
"""
