"""The nginx in front of all servers: one process, one set of limits, and one location for each protocol.

The servers listen on the same path or port one after the other, so nginx is the same for all servers. Kept connections
go to the port: not every server has unix sockets.
"""

from pathlib import Path

from tools.nginx import Nginx

SITE = """\
upstream kept {{
    server 127.0.0.1:{port};
    keepalive 64;  # idle connections: more than the load uses
}}

server {{
    listen 80;
    server_name bench.example;  # as on a real site
    access_log off;
    keepalive_requests 100000000;  # for one connection of a client, which lasts as long as wrk runs

    # Bodies of both directions stay in memory: nginx's disk must not cost time.
    client_max_body_size 2m;
    client_body_buffer_size 2m;
    uwsgi_buffers 64 8k;
    proxy_buffers 64 8k;

    location /uwsgi {{
        include uwsgi_params;
        uwsgi_pass unix:{socket};
    }}

    location /http {{
        proxy_set_header Host $host;
        proxy_pass http://unix:{socket};
    }}

    location /kept {{
        proxy_set_header Host $host;
        proxy_set_header Connection "";
        proxy_http_version 1.1;
        proxy_pass http://kept;
    }}
}}
"""


def front(socket: Path, port: int, descriptors: int) -> Nginx:
    return Nginx(
        SITE.format(socket=socket, port=port),
        main=f"worker_processes 1;\nworker_rlimit_nofile {descriptors};",
        events=f"worker_connections {descriptors // 2};",
    )
