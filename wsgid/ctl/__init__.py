"""wsgidctl: see and steer a running wsgid, over its control socket.

    main.py      the command line, and the list of subcommands
    client.py    find the control socket, ask, get the answer
    the others   one subcommand each, or a few that belong together
"""
