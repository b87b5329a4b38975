/* Preloaded into a controller by tests (tests/src/disk.rs): its database's files meet a disk that
 * is full, read-only or broken, or the process dies at one certain fsync. Which, files in the
 * folder DISK_FAULTS say: they come and go while it runs. Everything else is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_database(int fd, const char *part) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) return 0;
    path[len] = 0;
    const char *name = strrchr(path, '/');
    return name && strncmp(name + 1, part, strlen(part)) == 0;
}

static FILE *fault(const char *name) {
    char path[4096];
    const char *folder = getenv("DISK_FAULTS");
    if (!folder) return NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, "re");
}

static int is_on(const char *name) {
    int before = errno;
    FILE *file = fault(name);
    if (file) fclose(file);
    errno = before;
    return file != NULL;
}

static ssize_t refused(int fd) {
    if (!is_database(fd, "tucano.db")) return 0;
    if (is_on("full")) return errno = ENOSPC, -1;
    if (is_on("readonly")) return errno = EROFS, -1;
    return 0;
}

static int synced(int fd, const char *real) {
    static int log_syncs;
    int (*sync)(int) = dlsym(RTLD_NEXT, real);
    if (!is_database(fd, "tucano.db")) return sync(fd);
    if (is_on("fsync")) return errno = EIO, -1;
    int deadly = 0;
    FILE *file = is_database(fd, "tucano.db-wal") ? fault("die") : NULL;
    if (file) {
        /* "3 after": the third fsync of the log from now on is the last thing that is done. */
        int number = 0;
        char when[16] = "";
        if (fscanf(file, "%d %15s", &number, when) == 2 && ++log_syncs == number) {
            deadly = 1;
            if (strcmp(when, "before") == 0) raise(SIGKILL);
        }
        fclose(file);
    }
    int result = sync(fd);
    if (deadly) raise(SIGKILL);
    return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

ssize_t write(int fd, const void *from, size_t len) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return refused(fd) ? -1 : real(fd, from, len);
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    return refused(fd) ? -1 : real(fd, from, len, at);
}

ssize_t pwrite64(int fd, const void *from, size_t len, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    return refused(fd) ? -1 : real(fd, from, len, at);
}

int ftruncate(int fd, off_t len) {
    int (*real)(int, off_t) = dlsym(RTLD_NEXT, "ftruncate");
    return refused(fd) ? -1 : real(fd, len);
}

int ftruncate64(int fd, off64_t len) {
    int (*real)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    return refused(fd) ? -1 : real(fd, len);
}
