"""The logs: the server log (`log.info(...)`), and the destinations of all log lines.

server_log.py      the server log: one sentence or one JSON object for each line
destination.py     files, standard error, syslog: the values of --logger and --access-log
files.py           the log files, which the master opens, and their rotation
syslog_socket.py   datagrams to a syslog
request_record.py  what is known of a request that has ended
request_format.py  --log-format: from a text to a function that renders the line of a request
stream.py          writes whole lines to a descriptor, without waiting
stdio.py           standard input, output and error of all processes
rate_limit.py      limits how often a sentence is logged
stack_text.py      Python stacks with their source lines
"""

from wsgid.log.server_log import ErrorStream, debug, error, info, set_up, speak_as, use, warning, write_to

__all__ = ["ErrorStream", "debug", "error", "info", "set_up", "speak_as", "use", "warning", "write_to"]
