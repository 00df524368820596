cpdef tuple recv_packet(int fd)
cpdef recv(int fd, size_t size_bytes=*)
cpdef Py_ssize_t recv_into(int fd, target) except -2
cpdef Py_ssize_t send(int fd, block) except -1
cpdef poll(int fd, short events)
cpdef close(int fd)
cpdef double monotonic() noexcept
cpdef long long second() noexcept
