/* TLS for the load client: the few functions of OpenSSL it needs, found when it runs.
 *
 * Nothing of OpenSSL is needed to compile the client; without its library only --tls is missing. Certificates are not
 * checked: what is measured is the server.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/types.h>

enum { SSL_WANTS_READ = 2, SSL_WANTS_WRITE = 3, SSL_SYSTEM_CALL = 5, SSL_ZERO_RETURN = 6 };
enum { SSL_CONTROL_MODE = 33, SSL_PARTIAL_WRITES = 1, SSL_MOVING_BUFFER = 2, SSL_CONTROL_READ_AHEAD = 41 };

static struct {
    void *context;
    void *(*SSL_new)(void *);
    void (*SSL_free)(void *);
    int (*SSL_set_fd)(void *, int);
    void (*SSL_set_connect_state)(void *);
    int (*SSL_read)(void *, void *, int);
    int (*SSL_write)(void *, const void *, int);
    int (*SSL_get_error)(const void *, int);
    int (*SSL_has_pending)(const void *);
    void (*ERR_clear_error)(void);
} tls;

/* NULL, or what is missing. */
static const char *tls_begin(void)
{
    void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL)
        library = dlopen("libssl.so.1.1", RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL)
        return dlerror();
    const void *(*TLS_client_method)(void) = (const void *(*)(void))dlsym(library, "TLS_client_method");
    void *(*SSL_CTX_new)(const void *) = (void *(*)(const void *))dlsym(library, "SSL_CTX_new");
    long (*SSL_CTX_ctrl)(void *, int, long, void *) = (long (*)(void *, int, long, void *))dlsym(library, "SSL_CTX_ctrl");
#define FIND(name) (*(void **)&tls.name = dlsym(library, #name))
    if (!TLS_client_method || !SSL_CTX_new || !SSL_CTX_ctrl || !FIND(SSL_new) || !FIND(SSL_free) || !FIND(SSL_set_fd) ||
        !FIND(SSL_set_connect_state) || !FIND(SSL_read) || !FIND(SSL_write) || !FIND(SSL_get_error) ||
        !FIND(SSL_has_pending) || !FIND(ERR_clear_error))
        return dlerror();
#undef FIND
    tls.context = SSL_CTX_new(TLS_client_method());
    if (tls.context == NULL)
        return "OpenSSL makes no context";
    SSL_CTX_ctrl(tls.context, SSL_CONTROL_MODE, SSL_PARTIAL_WRITES | SSL_MOVING_BUFFER, NULL);
    SSL_CTX_ctrl(tls.context, SSL_CONTROL_READ_AHEAD, 1, NULL);
    return NULL;
}

static void *tls_open(int fd)
{
    void *connection = tls.SSL_new(tls.context);
    if (connection != NULL) {
        tls.SSL_set_fd(connection, fd);
        tls.SSL_set_connect_state(connection);
    }
    return connection;
}

/* As recv(2) and send(2) answer. `reads`: it has to read before it can go on. */
static ssize_t tls_result(void *connection, int result, bool *reads)
{
    if (reads != NULL)
        *reads = false;
    if (result > 0)
        return result;
    int failed = errno, kind = tls.SSL_get_error(connection, result);
    if (reads != NULL)
        *reads = kind == SSL_WANTS_READ;
    if (kind == SSL_ZERO_RETURN)
        return 0;
    errno = kind == SSL_WANTS_READ || kind == SSL_WANTS_WRITE ? EAGAIN : kind == SSL_SYSTEM_CALL && failed ? failed : EPROTO;
    return -1;
}

static ssize_t tls_receive(void *connection, void *data, size_t size)
{
    tls.ERR_clear_error();
    errno = 0;
    return tls_result(connection, tls.SSL_read(connection, data, (int)size), NULL);
}

static ssize_t tls_send(void *connection, const void *data, size_t size, bool *reads)
{
    tls.ERR_clear_error();
    errno = 0;
    return tls_result(connection, tls.SSL_write(connection, data, (int)size), reads);
}
