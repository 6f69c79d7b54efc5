/* The floor that a compiler cache is measured against: a static program that takes the compiler's
 * command line, and copies the object and the dependency file that belong to it from the folder
 * in $COPIER_STORE. It checks nothing, so it is no cache: it only shows what starting a process
 * and writing the two files costs.
 *
 * Built by the benches: gcc -O2 -static -o copier copier.c
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char block[64 << 10];

static int copy(const char *store, const char *to) {
  char from[4096];
  const char *slash = strrchr(to, '/');
  snprintf(from, sizeof from, "%s/%s", store, slash ? slash + 1 : to);
  int in = open(from, O_RDONLY | O_CLOEXEC);
  int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (in < 0 || out < 0)
    return 1;
  ssize_t count;
  while ((count = read(in, block, sizeof block)) > 0)
    if (write(out, block, count) != count)
      return 1;
  return count != 0;
}

int main(int argc, char **argv) {
  const char *store = getenv("COPIER_STORE");
  if (!store)
    return 2;
  int status = 0;
  for (int i = 1; i + 1 < argc; i++)
    if (!strcmp(argv[i], "-o") || !strcmp(argv[i], "-MF"))
      status |= copy(store, argv[i + 1]);
  return status;
}
