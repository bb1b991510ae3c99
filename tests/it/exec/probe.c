// What a command sees of the world it runs in, line by line: `topic: value`. Built static by the tests, run as the first
// process of a container. Numbers that differ from run to run (inodes, devices of disks) are left out or named by kind;
// the tests replace what differs from machine to machine.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

static const char *name_of(int error) {
  return error == 0 ? "ok" : strerrorname_np(error);
}

// The result of a call that returns -1 on failure.
static void tell(const char *topic, const char *what, long result) {
  printf("%s: %s %s\n", topic, what, name_of(result == -1 ? errno : 0));
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

// Names in a directory, sorted; `n` of them.
static char **names(const char *path, int *n) {
  static char *none[1];
  char **all = calloc(4096, sizeof *all);
  *n = 0;
  DIR *dir = opendir(path);
  if (!dir) return none;
  for (struct dirent *it; (it = readdir(dir)) && *n < 4096;)
    if (strcmp(it->d_name, ".") && strcmp(it->d_name, "..")) all[(*n)++] = strdup(it->d_name);
  closedir(dir);
  qsort(all, *n, sizeof *all, by_name);
  return all;
}

static const char *kind(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFREG: return "file";
  case S_IFDIR: return "directory";
  case S_IFCHR: return "character device";
  case S_IFBLK: return "block device";
  case S_IFIFO: return "pipe";
  case S_IFSOCK: return "socket";
  case S_IFLNK: return "link";
  default: return "unknown";
  }
}

// Files named by the arguments, and /etc/hosts: what they are and hold.
static void file(const char *path) {
  struct stat it;
  if (stat(path, &it)) {
    printf("path: %s %s\n", path, name_of(errno));
    return;
  }
  printf("path: %s %s %o %u:%u, writing %s\n", path, kind(it.st_mode), it.st_mode & 07777, it.st_uid, it.st_gid,
         name_of(access(path, W_OK) ? errno : 0));
  int n = 0;
  char **all = S_ISDIR(it.st_mode) ? names(path, &n) : 0;
  for (int i = 0; i < n; i++) printf("path: %s/%s\n", path, all[i]);
  if (S_ISSOCK(it.st_mode)) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tell("connect", path, connect(fd, (struct sockaddr *)&address, sizeof address));
  }
  FILE *text = S_ISREG(it.st_mode) ? fopen(path, "r") : 0;
  char line[4096];
  while (text && fgets(line, sizeof line, text)) printf("text: %s %s", path, line);
}

static void process(int argc, char **argv) {
  for (int i = 0; i < argc; i++) printf("arg: %s\n", argv[i]);
  for (char **it = environ; *it; it++) printf("env: %s\n", *it);
  char text[4096];
  printf("cwd: %s\n", syscall(SYS_getcwd, text, sizeof text) > 0 ? text : "?");
  printf("exe: %s\n", (memset(text, 0, sizeof text), readlink("/proc/self/exe", text, sizeof text - 1) > 0) ? text : "?");
  uid_t r, e, s;
  getresuid(&r, &e, &s);
  printf("uid: %u %u %u\n", r, e, s);
  getresgid(&r, &e, &s);
  printf("gid: %u %u %u\n", r, e, s);
  gid_t groups[256];
  int n = getgroups(256, groups);
  printf("groups:");
  for (int i = 0; i < n; i++) printf(" %u", groups[i]);
  printf("\n");
  mode_t mask = umask(0);
  umask(mask);
  printf("umask: %04o\n", mask);
  printf("pid: %d, parent %d, group %d, session %d\n", getpid(), getppid(), getpgrp(), getsid(0));
  gethostname(text, sizeof text);
  printf("hostname: %s\n", text);
  int death = -1;
  prctl(PR_GET_PDEATHSIG, &death);
  printf("signal at parent's death: %d\n", death);
  printf("securebits: %d, keepcaps %d, dumpable %d, secure execution %lu\n", prctl(PR_GET_SECUREBITS),
         prctl(PR_GET_KEEPCAPS), prctl(PR_GET_DUMPABLE), getauxval(AT_SECURE));
  printf("personality: %x\n", personality(0xffffffff));
  printf("scheduling: policy %d, nice %d\n", sched_getscheduler(0), getpriority(PRIO_PROCESS, 0));
  int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
  printf("controlling terminal: %s\n", tty < 0 ? name_of(errno) : "yes");
}

static void status(void) {
  static const char *wanted[] = {"Name", "Cap", "NoNewPrivs", "Seccomp", "Sig", "ShdPnd", "Threads", "NSpid", "TracerPid"};
  FILE *file = fopen("/proc/self/status", "r");
  char line[4096];
  while (file && fgets(line, sizeof line, file))
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
      if (!strncmp(line, wanted[i], strlen(wanted[i])) && strncmp(line, "SigQ", 4)) {
        for (char *it = line; *it; it++)
          if (*it == '\t') *it = ' ';
        printf("status: %s", line);
      }
  file = fopen("/proc/self/oom_score_adj", "r");
  if (file && fgets(line, sizeof line, file)) printf("oom_score_adj: %s", line);
}

static void limits(void) {
  static const struct { int which; const char *name; } all[] = {
      {RLIMIT_AS, "as"}, {RLIMIT_CORE, "core"}, {RLIMIT_CPU, "cpu"}, {RLIMIT_DATA, "data"}, {RLIMIT_FSIZE, "fsize"},
      {RLIMIT_LOCKS, "locks"}, {RLIMIT_MEMLOCK, "memlock"}, {RLIMIT_MSGQUEUE, "msgqueue"}, {RLIMIT_NICE, "nice"},
      {RLIMIT_NOFILE, "nofile"}, {RLIMIT_NPROC, "nproc"}, {RLIMIT_RSS, "rss"}, {RLIMIT_RTPRIO, "rtprio"},
      {RLIMIT_RTTIME, "rttime"}, {RLIMIT_SIGPENDING, "sigpending"}, {RLIMIT_STACK, "stack"}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    struct rlimit it;
    getrlimit(all[i].which, &it);
    printf("rlimit: %s %lld %lld\n", all[i].name, (long long)it.rlim_cur, (long long)it.rlim_max);
  }
}

// `fd` 3 and above are nobody's business but that of the directory being read.
static void descriptors(void) {
  for (int fd = 0; fd < 1024; fd++) {
    struct stat it;
    if (fstat(fd, &it)) continue;
    int flags = fcntl(fd, F_GETFL);
    char link[64], target[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, target, sizeof target - 1) < 0 || strchr(target, ':')) target[0] = 0;
    printf("fd: %d %s%s%s %s%s%s\n", fd, kind(it.st_mode), *target ? " " : "", target,
           (flags & O_ACCMODE) == O_RDONLY ? "r" : (flags & O_ACCMODE) == O_WRONLY ? "w" : "rw",
           flags & O_NONBLOCK ? " nonblocking" : "", flags & O_APPEND ? " append" : "");
  }
  char byte;
  printf("stdin: %zd bytes\n", read(0, &byte, 1));
}

static void mounts(void) {
  FILE *file = fopen("/proc/self/mountinfo", "r");
  char line[8192];
  while (file && fgets(line, sizeof line, file)) {
    char *rest = line, *field[64];
    int n = 0;
    for (char *it; n < 64 && (it = strsep(&rest, " \n"));)
      if (*it) field[n++] = it;
    int dash = 6;
    while (dash < n && strcmp(field[dash], "-")) dash++;
    if (dash + 3 >= n) continue;
    printf("mount: %s %s %s", field[4], field[dash + 1], field[5]);
    for (int i = 6; i < dash; i++) printf(" %s", field[i]);
    printf(" | %s %s\n", field[3], field[dash + 3]);
  }
}

// What is hidden or read-only, and whether it is: hidden is absent, null, or an empty read-only directory.
static void hidden(void) {
  static const char *masked[] = {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
      "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
      "/sys/devices/virtual/powercap"};
  for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
    struct stat it;
    int n = 0;
    int is = lstat(masked[i], &it) != 0;
    if (!is && S_ISCHR(it.st_mode)) is = it.st_rdev == makedev(1, 3);
    if (!is && S_ISDIR(it.st_mode)) {
      names(masked[i], &n);
      is = n == 0 && mkdirat(AT_FDCWD, strcat(strdup(masked[i]), "/x"), 0700) && errno == EROFS;
    }
    printf("masked: %s %s\n", masked[i], is ? "yes" : "NO");
  }
  static const char *readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++) {
    int is = access(readonly[i], F_OK) || (access(readonly[i], W_OK) && (errno == EROFS || errno == EACCES));
    printf("read-only: %s %s\n", readonly[i], is ? "yes" : "NO");
  }
  tell("write", "/proc/sys/kernel/domainname", open("/proc/sys/kernel/domainname", O_WRONLY | O_CLOEXEC));
  tell("write", "/etc/hosts", open("/etc/hosts", O_WRONLY | O_CLOEXEC));
  tell("write", "/etc/resolv.conf", open("/etc/resolv.conf", O_WRONLY | O_CLOEXEC));
  tell("write", "/sys/fs/cgroup/x", mkdir("/sys/fs/cgroup/x", 0755));
  tell("write", "/new", (unlink("/new"), open("/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
  unlink("/new");
}

static void devices(void) {
  static const char *dirs[] = {"/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"};
  for (size_t d = 0; d < sizeof dirs / sizeof *dirs; d++) {
    int n;
    char **all = names(dirs[d], &n);
    for (int i = 0; i < n; i++) {
      char path[512], target[512] = "";
      struct stat it;
      snprintf(path, sizeof path, "%s/%s", dirs[d], all[i]);
      lstat(path, &it);
      if (S_ISLNK(it.st_mode)) readlink(path, target, sizeof target - 1);
      printf("dev: %s %s %o %u:%u", path, kind(it.st_mode), it.st_mode & 07777, it.st_uid, it.st_gid);
      if (S_ISCHR(it.st_mode) || S_ISBLK(it.st_mode)) printf(" %u,%u", major(it.st_rdev), minor(it.st_rdev));
      printf("%s%s\n", *target ? " -> " : "", target);
    }
  }
  static const char *opened[] = {"null", "zero", "full", "random", "urandom", "ptmx"};
  for (size_t i = 0; i < sizeof opened / sizeof *opened; i++) {
    char path[64];
    snprintf(path, sizeof path, "/dev/%s", opened[i]);
    tell("open", path, open(path, O_RDWR | O_NOCTTY | O_CLOEXEC));
  }
  static const struct { const char *name; mode_t mode; int major, minor; } made[] = {
      {"disk", S_IFBLK, 8, 0}, {"loop", S_IFBLK, 7, 0}, {"mem", S_IFCHR, 1, 1}, {"kmsg", S_IFCHR, 1, 11},
      {"tun", S_IFCHR, 10, 200}, {"null2", S_IFCHR, 1, 3}};
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
    char path[64];
    snprintf(path, sizeof path, "/dev/%s", made[i].name);
    tell("mknod", path, mknod(path, made[i].mode | 0600, makedev(made[i].major, made[i].minor)));
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    // Whether there is such a device is the machine's matter; whether it may be opened is not.
    printf("open: %s %s\n", path, fd < 0 && errno != ENXIO && errno != ENODEV && errno != ENOMEDIUM ? name_of(errno) : "allowed");
    if (0 <= fd) close(fd);
    unlink(path);
  }
}

static void kernel(void) {
  int n;
  char **all = names("/proc/self/ns", &n);
  for (int i = 0; i < n; i++) {
    char path[512], target[512] = "";
    snprintf(path, sizeof path, "/proc/self/ns/%s", all[i]);
    readlink(path, target, sizeof target - 1);
    printf("ns: %s %s\n", all[i], target);
  }
  FILE *file = fopen("/proc/self/cgroup", "r");
  char line[4096];
  while (file && fgets(line, sizeof line, file)) printf("cgroup: %s", line);
  int devices_socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  all = names("/sys/class/net", &n);
  for (int i = 0; i < n; i++) {
    struct ifreq request = {0};
    strncpy(request.ifr_name, all[i], IFNAMSIZ - 1);
    ioctl(devices_socket, SIOCGIFFLAGS, &request);
    printf("net: %s%s\n", all[i], request.ifr_flags & IFF_UP ? " up" : "");
  }
}

static void calls(void) {
  tell("call", "unshare user", unshare(CLONE_NEWUSER));
  tell("call", "unshare mount", unshare(CLONE_NEWNS));
  tell("call", "setns", setns(-1, CLONE_NEWNET));
  tell("call", "mount", mount("none", "/proc", "tmpfs", 0, 0));
  tell("call", "umount", umount2("/proc/sys", MNT_DETACH));
  tell("call", "open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
  tell("call", "fsopen", syscall(SYS_fsopen, "proc", 0));
  tell("call", "pivot_root", syscall(SYS_pivot_root, ".", "."));
  tell("call", "clone3", syscall(SYS_clone3, 0, 0));
  tell("call", "keyctl", syscall(SYS_keyctl, 0, 0, 0));
  tell("call", "add_key", syscall(SYS_add_key, "user", "x", "x", 1, -1));
  tell("call", "bpf", syscall(SYS_bpf, 0, 0, 0));
  tell("call", "perf_event_open", syscall(SYS_perf_event_open, 0, 0, 0, 0, 0));
  tell("call", "userfaultfd", syscall(SYS_userfaultfd, 0));
  tell("call", "io_uring_setup", syscall(SYS_io_uring_setup, 0, 0));
  tell("call", "kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
  tell("call", "init_module", syscall(SYS_init_module, 0, 0, 0));
  tell("call", "reboot", syscall(SYS_reboot, 0, 0, 0, 0));
  tell("call", "swapon", syscall(SYS_swapon, 0, 0));
  tell("call", "settimeofday", syscall(SYS_settimeofday, 0, (void *)-1));
  tell("call", "open_by_handle_at", syscall(SYS_open_by_handle_at, -1, 0, 0));
  tell("call", "AF_ALG socket", socket(38, SOCK_SEQPACKET, 0));
  tell("call", "AF_VSOCK socket", socket(40, SOCK_STREAM, 0));
  tell("call", "raw socket", socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 1));
  tell("call", "personality", personality(ADDR_NO_RANDOMIZE));
  tell("call", "ptrace", ptrace(PTRACE_PEEKDATA, 4000000, 0, 0));
  tell("call", "chroot", chroot("/"));
  tell("call", "sethostname", sethostname("x", 1));
  tell("call", "raise nofile", setrlimit(RLIMIT_NOFILE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}));
  tell("call", "setuid 0", setuid(0));
  int pipe_ends[2];
  tell("call", "pipe", pipe(pipe_ends));
}

// Whether a directory is the one that was the root at first: the same of the same mount.
static const char *whether_root(struct statx root) {
  struct statx here;
  if (statx(AT_FDCWD, ".", 0, STATX_INO | STATX_MNT_ID, &here)) return "unseen";
  return here.stx_ino == root.stx_ino && here.stx_dev_minor == root.stx_dev_minor && here.stx_mnt_id == root.stx_mnt_id
             ? "itself" : "another";
}

// Where one gets to above the root: also from outside of a root of one's own, where nothing stops the climb.
static void above(void) {
  struct statx root;
  int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &root);
  if (chdir("/..")) return;
  printf("above the root: %s\n", whether_root(root));
  if (chroot("/dev") || fchdir(fd)) return;
  for (int i = 0; i < 64; i++) if (chdir("..")) return;
  printf("above the root, from outside of another: %s\n", whether_root(root));
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "hold")) {
    prctl(PR_SET_PDEATHSIG, 0);
    for (;;) pause();
  }
  // It tries what must not work in a container: outside of one it would.
  if (getpid() != 1) return 99;
  setvbuf(stdout, 0, _IOFBF, 1 << 16);
  descriptors();
  process(argc, argv);
  file("/etc/hosts");
  for (int i = 1; i < argc; i++) file(argv[i]);
  status();
  limits();
  mounts();
  hidden();
  devices();
  kernel();
  calls();
  above();
  return 0;
}
