// The floor under a step: a container as bare as the kernel allows, made and run N times, one after the other.
// Namespaces, an overlay that is not synced, /proc, /dev with six nodes, /dev/pts, /dev/shm, /sys, pivot_root and execve of
// `true`; no capabilities, filter, cgroup, user, limits, hidden files, output, commit or database. Prints milliseconds of
// each.
// usage: floor N LOWER SCRATCH (LOWER holds bin/true, static; SCRATCH is a directory for uppers)
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(call) if ((call) == -1) { dprintf(2, "floor: %s: %s\n", #call, strerror(errno)); _exit(1); }

static void contain(const char *options) {
  CHECK(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
  CHECK(mount("overlay", "/mnt", "overlay", 0, options));
  CHECK(chdir("/mnt"));
  CHECK(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0));
  CHECK(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k"));
  CHECK(mkdir("dev/pts", 0755));
  CHECK(mkdir("dev/shm", 0755));
  CHECK(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
  CHECK(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k"));
  CHECK(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, 0));
  static const struct { const char *path; int major, minor; } nodes[] = {{"dev/null", 1, 3}, {"dev/zero", 1, 5},
      {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
  for (int i = 0; i < 6; i++) CHECK(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
  CHECK(syscall(SYS_pivot_root, ".", "."));
  CHECK(umount2(".", MNT_DETACH));
  CHECK(chdir("/"));
  execve("/bin/true", (char *[]){"true", 0}, (char *[]){0});
  CHECK(-1);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  int n = atoi(argv[1]);
  char options[4096], dir[1024];
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (int i = 0; i < n; i++) {
    snprintf(dir, sizeof dir, "%s/%d", argv[3], i);
    CHECK(mkdir(dir, 0755));
    snprintf(dir, sizeof dir, "%s/%d/upper", argv[3], i);
    CHECK(mkdir(dir, 0755));
    snprintf(dir, sizeof dir, "%s/%d/work", argv[3], i);
    CHECK(mkdir(dir, 0755));
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/%d/upper,workdir=%s/%d/work,volatile", argv[2],
             argv[3], i, argv[3], i);
    struct clone_args args = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    CHECK(pid);
    if (pid == 0) contain(options);
    int status;
    CHECK(waitpid(pid, &status, 0));
    if (status) return 1;
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%.2f\n", ((end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) / 1e6) / n);
  return 0;
}
