"""PEP 3333 over an abstract transport: environ, request body, response. No sockets, no hub, no clock."""
