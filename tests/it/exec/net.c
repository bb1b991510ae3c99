// What a command can reach. Built static by the tests; the first argument says what is tried, and one line what became of it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 1000 };

static int fail(const char *what) {
  printf("%s %s\n", what, strerrorname_np(errno));
  return 0;
}

static struct sockaddr_in address(const char *text, const char *port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  char gateway[16];
  if (!strcmp(text, "gateway")) {
    // The line of the default route: interface, destination 0, gateway.
    FILE *routes = fopen("/proc/net/route", "r");
    char line[512];
    unsigned dest, via;
    while (routes && fgets(line, sizeof line, routes))
      if (sscanf(line, "%*s %x %x", &dest, &via) == 2 && dest == 0 && via != 0)
        text = inet_ntop(AF_INET, &via, gateway, sizeof gateway);
  }
  if (inet_pton(AF_INET, text, &to.sin_addr) != 1) exit(3);
  return to;
}

// Connects, says hi, prints the answer.
static int tcp(const char *text, const char *port) {
  struct sockaddr_in to = address(text, port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), error = 0;
  if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) return fail("connect");
  struct pollfd watched = {fd, POLLOUT, 0};
  if (poll(&watched, 1, PATIENCE_MS) == 0) return puts("connect nothing"), 0;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
  if ((errno = error)) return fail("connect");
  if (write(fd, "hi\n", 3) != 3) return fail("write");
  char answer[64] = "";
  watched.events = POLLIN;
  if (poll(&watched, 1, PATIENCE_MS) == 0) return puts("read nothing"), 0;
  if (read(fd, answer, sizeof answer - 1) < 0) return fail("read");
  return puts(answer), 0;
}

static int udp(const char *text, const char *port, const void *bytes, size_t n, unsigned char *answer, int room) {
  struct sockaddr_in to = address(text, port);
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (sendto(fd, bytes, n, 0, (void *)&to, sizeof to) < 0) return -1;
  struct pollfd watched = {fd, POLLIN, 0};
  if (poll(&watched, 1, PATIENCE_MS) == 0) return errno = ETIMEDOUT, -1;
  return recv(fd, answer, room, 0);
}

// Asks a name server for the address of `name`.
static int dns(const char *server, const char *name) {
  unsigned char query[300] = {7, 7, 1, 0, 0, 1}, answer[512];
  size_t at = 12;
  for (const char *part = name; *part;) {
    size_t n = strcspn(part, ".");
    query[at++] = n;
    memcpy(query + at, part, n);
    at += n;
    part += n + (part[n] == '.');
  }
  at += 1;
  query[at + 1] = query[at + 3] = 1;
  int n = udp(server, "53", query, at + 4, answer, sizeof answer);
  if (n < 0) return fail("dns");
  if (n < 4 || !answer[7]) return puts("dns no answer"), 0;
  return printf("%d.%d.%d.%d\n", answer[n - 4], answer[n - 3], answer[n - 2], answer[n - 1]), 0;
}

// Takes a port on all addresses and a name of the abstract kind.
static int take(const char *port) {
  struct sockaddr_in own = address("0.0.0.0", port);
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0bkl-test"};
  int fd = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(fd, (void *)&own, sizeof own) || listen(fd, 8)) return fail("bind"), -1;
  if (bind(local, (void *)&name, offsetof(struct sockaddr_un, sun_path) + 9)) return fail("name"), -1;
  puts("taken");
  fflush(stdout);
  return fd;
}

// A server and its client, both here. The server closes first, and so keeps the connection in mind for a while.
static int localhost(const char *port) {
  int fd = take(port);
  if (fd < 0) return 0;
  if (fork() == 0) {
    int peer = accept(fd, NULL, NULL);
    char hi[3];
    if (read(peer, hi, 3) != 3 || write(peer, "inside", 6) != 6) _exit(1);
    _exit(0);
  }
  return tcp("127.0.0.1", port);
}

// Takes a port, and sends the socket to whoever listens at a path.
static int give(const char *path, const char *port) {
  int taken = take(port), local = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strcpy(to.sun_path, path);
  if (taken < 0 || connect(local, (void *)&to, sizeof to)) return fail("give");
  char space[CMSG_SPACE(sizeof taken)] = {0};
  struct iovec byte = {"x", 1};
  struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  *rights = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof taken), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(rights), &taken, sizeof taken);
  if (sendmsg(local, &message, 0) != 1) return fail("give");
  return puts("given"), 0;
}

static uint16_t sum(const void *bytes, size_t n, uint32_t more) {
  const uint8_t *it = bytes;
  for (size_t i = 0; i < n; i++) more += i % 2 ? it[i] : it[i] << 8;
  while (more >> 16) more = (more & 0xffff) + (more >> 16);
  return htons(~more);
}

// Sends the first packet of a connection as a frame of its own making, past what this kernel thinks of its address.
static int raw(const char *text, const char *port, const char *device) {
  unsigned char dummy[4], frame[54] = {0}, got[2048];
  // Has the gateway's address in the link layer found out.
  udp("gateway", "9", "x", 1, dummy, 4);
  FILE *arp = fopen("/proc/net/arp", "r");
  char line[256];
  unsigned mac[6];
  int found = 0;
  while (arp && fgets(line, sizeof line, arp))
    found |= sscanf(line, "%*s %*s %*s %x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6;
  if (!found) return puts("raw no gateway"), 0;
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = if_nametoindex(device)};
  if (fd < 0 || bind(fd, (void *)&at, sizeof at)) return fail("raw");
  struct ifreq own = {0};
  strcpy(own.ifr_name, device);
  ioctl(fd, SIOCGIFHWADDR, &own);
  for (int i = 0; i < 6; i++) frame[i] = mac[i];
  memcpy(frame + 6, own.ifr_hwaddr.sa_data, 6);
  int any = socket(AF_INET, SOCK_DGRAM, 0);
  ioctl(any, SIOCGIFADDR, &own);
  struct sockaddr_in to = address(text, port);
  uint32_t source = ((struct sockaddr_in *)&own.ifr_addr)->sin_addr.s_addr;
  unsigned char *ip = frame + 14, *tcp = frame + 34;
  frame[12] = 8;
  ip[0] = 0x45, ip[3] = 40, ip[8] = 64, ip[9] = 6;
  memcpy(ip + 12, &source, 4);
  memcpy(ip + 16, &to.sin_addr, 4);
  *(uint16_t *)(ip + 10) = sum(ip, 20, 0);
  tcp[0] = 0x9c, tcp[1] = 0x40, tcp[7] = 1, tcp[12] = 0x50, tcp[13] = 2, tcp[14] = 0xff;
  memcpy(tcp + 2, &to.sin_port, 2);
  uint32_t pseudo = 6 + 20;
  for (int i = 12; i < 20; i += 2) pseudo += ip[i] << 8 | ip[i + 1];
  *(uint16_t *)(tcp + 16) = sum(tcp, 20, pseudo);
  if (send(fd, frame, sizeof frame, 0) < 0) return fail("raw");
  struct pollfd watched = {fd, POLLIN, 0};
  while (poll(&watched, 1, PATIENCE_MS / 4) > 0) {
    ssize_t n = recv(fd, got, sizeof got, 0);
    if (n >= 54 && got[23] == 6 && !memcmp(got + 34, tcp + 2, 2) && !memcmp(got + 36, tcp, 2))
      return printf("raw %s\n", got[47] & 4 ? "refused" : "answered"), 0;
  }
  return puts("raw nothing"), 0;
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  const char *verb = argv[1];
  if (argc == 4 && !strcmp(verb, "tcp")) return tcp(argv[2], argv[3]);
  if (argc == 4 && !strcmp(verb, "give")) return give(argv[2], argv[3]);
  if (argc == 4 && !strcmp(verb, "dns")) return dns(argv[2], argv[3]);
  if (argc == 3 && !strcmp(verb, "localhost")) return localhost(argv[2]);
  if (argc == 4 && !strcmp(verb, "raw")) return raw(argv[2], argv[3], "eth0");
  if (argc == 3 && !strcmp(verb, "hold")) return take(argv[2]) < 0 ? 1 : (sleep(60), 0);
  if (argc == 4 && !strcmp(verb, "udp")) {
    unsigned char answer[64] = {0};
    if (udp(argv[2], argv[3], "hi\n", 3, answer, 63) < 0) return fail("udp");
    return puts((char *)answer), 0;
  }
  return 2;
}
