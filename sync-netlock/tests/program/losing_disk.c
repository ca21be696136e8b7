/* A disk that forgets what it was not told to keep, for a program that is started with this library in LD_PRELOAD.
 *
 * LOSING_DISK is a folder. Whatever the program syncs is copied there: a file's bytes as INODE, and a folder's entries as
 * `entries`, a line `INODE NAME` each. If a file `fails` stands in it, every sync fails; with `writes-fail`, every write in
 * place; with `renames-fail`, every rename. LOSING_BOOT is read in the place of the kernel's boot id. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
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

static int fill_bytes(int from, FILE *to) {
  char bytes[65536];
  off_t at = 0;
  ssize_t count;
  while ((count = pread(from, bytes, sizeof bytes, at)) > 0) {
    if (fwrite(bytes, 1, (size_t)count, to) != (size_t)count) return -1;
    at += count;
  }
  return count < 0 ? -1 : 0;
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

/* Whether the disk is to fail in this way. */
static int fails(const char *how) {
  char path[4096];
  place(path, sizeof path, how, "");
  if (access(path, F_OK) != 0) return 0;
  errno = EIO;
  return 1;
}

static int sync_and_keep(int fd) {
  char path[4096], name[32];
  if (fails("fails")) return -1;
  struct stat stat;
  if (fstat(fd, &stat) != 0) return -1;
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
  return 0;
}

int fsync(int fd) { return sync_and_keep(fd); }
int fdatasync(int fd) { return sync_and_keep(fd); }

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  static ssize_t (*next)(int, const void *, size_t, off64_t);
  if (next == NULL) next = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
  return fails("writes-fail") ? -1 : next(fd, bytes, count, at);
}

int rename(const char *from, const char *to) {
  static int (*next)(const char *, const char *);
  if (next == NULL) next = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
  /* What `keep` does is the disk's own. */
  int is_own = strncmp(to, getenv("LOSING_DISK"), strlen(getenv("LOSING_DISK"))) == 0;
  return !is_own && fails("renames-fail") ? -1 : next(from, to);
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
  return next(path, flags, mode);
}
