/* The smallest cost of a request in the kernel: accept, one read, one write, close.  Usage: floor SOCKET-PATH PROCESSES
 *
 * The answer to each request is the answer of `hello` in bench/apps.py under wsgid. */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello World!";

static void refused(const char *what)
{
    perror(what);
    exit(1);
}

static void serve(int listener)
{
    static char request[64 * 1024];
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            refused("accept4");
        if (recv(connection, request, sizeof request, 0) > 0)
            send(connection, answer, sizeof answer - 1, MSG_NOSIGNAL);
        close(connection);
    }
}

int main(int count, char **arguments)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (count != 3 || strlen(arguments[1]) >= sizeof address.sun_path) {
        fprintf(stderr, "usage: floor SOCKET-PATH PROCESSES\n");
        return 2;
    }
    strcpy(address.sun_path, arguments[1]);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        refused(arguments[1]);
    for (int left = atoi(arguments[2]); left > 0; left--) {
        pid_t pid = fork();
        if (pid < 0)
            refused("fork");
        if (pid == 0)
            serve(listener);
    }
    while (wait(NULL) > 0)
        ;
    return 1;
}
