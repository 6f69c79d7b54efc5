/* A compiler for simulated clusters: what asks a compiler about itself, or preprocesses, is left to
 * the real one; a compile sleeps, and writes the same object each time. So two cores can play forty
 * slots, and the compiler is the same file on both sides.
 *
 * How long it sleeps stands in PATH, which is all that daemons hand on: a folder's name that ends
 * in "pace-MILLISECONDS". A short text, such as a trial unit, takes no time.
 *
 * Built by the benches: gcc -O2 -static -DREAL='"/usr/bin/g++"' -DOBJECT='"unit.o"' sleeper.c
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PACE "pace-"
#define PACE_MILLISECONDS 1000
#define SHORT_BYTES 4000

__asm__(".section .rodata\nobject: .incbin " OBJECT "\nobject_end: .byte 0\n.text");
extern const char object[] __asm__("object"), object_end[] __asm__("object_end");

static int is_short(const char *word) {
  const char *suffix = strrchr(word, '.');
  struct stat found;
  return suffix && !strcmp(suffix, ".ii") && !stat(word, &found) && found.st_size < SHORT_BYTES;
}

static long pace(void) {
  const char *path = getenv("PATH");
  const char *found = path ? strstr(path, PACE) : NULL;
  return found ? atol(found + strlen(PACE)) : PACE_MILLISECONDS;
}

int main(int argc, char **argv) {
  const char *output = NULL;
  int compiles = 0, asks = 0, takes_no_time = 0;
  for (int i = 1; i < argc; i++) {
    compiles |= !strcmp(argv[i], "-c");
    asks |= !strcmp(argv[i], "-###") || !strcmp(argv[i], "-E") || !strcmp(argv[i], "/dev/null");
    takes_no_time |= is_short(argv[i]);
    if (!strcmp(argv[i], "-o") && i + 1 < argc)
      output = argv[i + 1];
  }
  if (!compiles || asks || !output) {
    argv[0] = REAL;
    execv(REAL, argv);
    return 127;
  }
  long milliseconds = takes_no_time ? 0 : pace();
  struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  nanosleep(&rest, NULL);
  int out = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  size_t length = object_end - object;
  return out < 0 || write(out, object, length) != (ssize_t)length;
}
