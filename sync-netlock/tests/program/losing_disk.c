/* A disk that forgets what it was not told to keep, for a program that is started with this library in LD_PRELOAD.
 *
 * LOSING_DISK is a folder. Whatever the program syncs is copied there: a file's bytes as INODE, and a folder's entries as
 * `entries`, a line `INODE NAME` each. If a file `fails` stands in it, every sync fails; with `writes-fail`, every write in
 * place; with `renames-fail`, every rename. While a file `hangs` stands in it, no sync returns. LOSING_BOOT is read in the place of the kernel's boot id.
 *
 * LOSING_KILL is `OPERATION NAME WHEN COUNT`: the program is killed `before` or `after` the COUNT-th operation (open,
 * pwrite, fsync, rename, unlink, mkdir, rmdir or `any`) on a file whose name begins with NAME. If NAME begins with a
 * slash, it is compared with the whole path. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void place(char *path, size_t room, const char *name, const char *end) {
  snprintf(path, room, "%s/%s%s", getenv("LOSING_DISK"), name, end);
}

/* A copy that is there as a whole or not at all, as the sync has happened or not. */
static void keep(const char *name, int (*fill)(int from, FILE *to), int from) {
  char fresh[4096], kept[4096];
  place(fresh, sizeof fresh, name, ".new");
  place(kept, sizeof kept, name, "");
  FILE *to = fopen(fresh, "w");
  if (to == NULL || fill(from, to) != 0 || fclose(to) != 0 || rename(fresh, kept) != 0) abort();
}

/* Skips the holes, which are most of a log. */
static int fill_bytes(int from, FILE *to) {
  char bytes[65536];
  off_t at = 0;
  struct stat stat;
  if (fstat(from, &stat) != 0 || ftruncate(fileno(to), stat.st_size) != 0) return -1;
  while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
    off_t end = lseek(from, at, SEEK_HOLE);
    if (fseeko(to, at, SEEK_SET) != 0) return -1;
    while (at < end) {
      ssize_t count = pread(from, bytes, end - at < (off_t)sizeof bytes ? (size_t)(end - at) : sizeof bytes, at);
      if (count <= 0 || fwrite(bytes, 1, (size_t)count, to) != (size_t)count) return -1;
      at += count;
    }
  }
  return errno == ENXIO ? 0 : -1;
}

static int fill_entries(int from, FILE *to) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", from);
  DIR *folder = opendir(path);
  if (folder == NULL) return -1;
  struct dirent *entry;
  while ((entry = readdir(folder)) != NULL)
    if (entry->d_name[0] != '.') fprintf(to, "%lu %s\n", (unsigned long)entry->d_ino, entry->d_name);
  return closedir(folder);
}

static int exists(const char *name) {
  char path[4096];
  place(path, sizeof path, name, "");
  return access(path, F_OK) == 0;
}

/* Whether the disk is to fail in this way. */
static int fails(const char *how) {
  if (!exists(how)) return 0;
  errno = EIO;
  return 1;
}

/* Kills the program if it is time. Called before and after each operation. */
static void step(const char *operation, const char *path, const char *when) {
  static int count;
  char at[16], name[512], then[16];
  int wanted;
  const char *plan = getenv("LOSING_KILL"), *base = strrchr(path, '/');
  if (plan == NULL || sscanf(plan, "%15s %511s %15s %d", at, name, then, &wanted) != 4) return;
  base = base == NULL || name[0] == '/' ? path : base + 1;
  if ((strcmp(at, operation) != 0 && strcmp(at, "any") != 0) || strcmp(then, when) != 0 || strncmp(base, name, strlen(name)) != 0) return;
  if (__atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) == wanted) {
    kill(getpid(), SIGKILL);
    pause();
  }
}

static void step_of(const char *operation, int fd, const char *when) {
  char link[64], path[4096];
  if (getenv("LOSING_KILL") == NULL) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = 0;
  step(operation, path, when);
}

static pthread_mutex_t keeping = PTHREAD_MUTEX_INITIALIZER;

static int sync_and_keep(int fd) {
  char path[4096], name[32];
  step_of("fsync", fd, "before");
  while (exists("hangs")) usleep(1000);
  if (fails("fails")) return -1;
  struct stat stat;
  if (fstat(fd, &stat) != 0) return -1;
  /* Two threads may sync one file. */
  pthread_mutex_lock(&keeping);
  if (S_ISDIR(stat.st_mode)) {
    keep("entries", fill_entries, fd);
  } else {
    /* For reading: the program may have opened it for writing alone. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    snprintf(name, sizeof name, "%lu", (unsigned long)stat.st_ino);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) abort();
    keep(name, fill_bytes, from);
    close(from);
  }
  pthread_mutex_unlock(&keeping);
  step_of("fsync", fd, "after");
  return 0;
}

int fsync(int fd) { return sync_and_keep(fd); }
int fdatasync(int fd) { return sync_and_keep(fd); }

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  static ssize_t (*next)(int, const void *, size_t, off64_t);
  if (next == NULL) next = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
  step_of("pwrite", fd, "before");
  ssize_t done = fails("writes-fail") ? -1 : next(fd, bytes, count, at);
  step_of("pwrite", fd, "after");
  return done;
}

int rename(const char *from, const char *to) {
  static int (*next)(const char *, const char *);
  if (next == NULL) next = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
  /* What `keep` does is the disk's own. */
  int is_own = strncmp(to, getenv("LOSING_DISK"), strlen(getenv("LOSING_DISK"))) == 0;
  if (is_own) return next(from, to);
  step("rename", from, "before");
  int done = fails("renames-fail") ? -1 : next(from, to);
  step("rename", from, "after");
  return done;
}

int unlink(const char *path) {
  static int (*next)(const char *);
  if (next == NULL) next = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
  step("unlink", path, "before");
  int done = next(path);
  step("unlink", path, "after");
  return done;
}

int mkdir(const char *path, mode_t mode) {
  static int (*next)(const char *, mode_t);
  if (next == NULL) next = (int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir");
  step("mkdir", path, "before");
  int done = next(path, mode);
  step("mkdir", path, "after");
  return done;
}

int rmdir(const char *path) {
  static int (*next)(const char *);
  if (next == NULL) next = (int (*)(const char *))dlsym(RTLD_NEXT, "rmdir");
  step("rmdir", path, "before");
  int done = next(path);
  step("rmdir", path, "after");
  return done;
}

int open64(const char *path, int flags, ...) {
  static int (*next)(const char *, int, ...);
  if (next == NULL) next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  const char *boot = getenv("LOSING_BOOT");
  if (boot != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) path = boot;
  step("open", path, "before");
  int fd = next(path, flags, mode);
  step("open", path, "after");
  return fd;
}
