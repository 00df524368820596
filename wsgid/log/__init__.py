"""The logs: the server log (`log.info(...)`), and where the lines of all logs go.

server_log.py      one sentence a line, or one JSON object
destination.py     files, standard error, syslog: as the operator writes them
files.py           the files, opened by the master, and their rotation
syslog_socket.py   datagrams to a syslog
request_record.py  what is known of a request that is over
request_format.py  --log-format: from text to a function that makes a request's line
stream.py          whole lines to a descriptor, without waiting
stdio.py           standard input, output and error of all processes
rate_limit.py      how often something is said
"""

from wsgid.log.server_log import ErrorStream, debug, error, info, set_up, speak_as, use, warning, write_to

__all__ = ["ErrorStream", "debug", "error", "info", "set_up", "speak_as", "use", "warning", "write_to"]
