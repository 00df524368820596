"""The nginx in front of all servers: one process, one set of limits, and one location for each protocol.

The servers listen on the same path one after the other, so nginx is the same for all servers.
"""

from pathlib import Path

from tools.nginx import Nginx

SITE = """\
upstream kept {{
    server unix:{socket};
    keepalive 64;  # idle connections: more than the load has
}}

server {{
    listen 80;
    server_name bench.example;  # as every site has one
    access_log off;
    keepalive_requests 100000000;  # of the client's connections, which last as long as wrk's run

    # Bodies of both directions stay in memory: nginx's disk is nobody's cost.
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


def front(socket: Path, descriptors: int) -> Nginx:
    return Nginx(
        SITE.format(socket=socket),
        main=f"worker_processes 1;\nworker_rlimit_nofile {descriptors};",
        events=f"worker_connections {descriptors // 2};",
    )
