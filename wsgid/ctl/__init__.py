"""wsgidctl: look at a running wsgid and control it, over its control socket.

main.py          the command line, and the list of subcommands
commands/        a module for each subcommand
client.py        find the control socket, send a request, receive the answer
answers.py       ask all workers, and explain why some do not answer
tables.py        words and tables; text from outside is escaped for the terminal
troubles.py      what is wrong with a server, in words
profile_data.py  the data of `profile`
flamegraph.py    a flame graph from this data
dashboard/       the page of `wsgidctl dashboard`
"""
