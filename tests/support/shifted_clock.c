/* Shifts the wall clock of the process it is preloaded into by the milliseconds in a file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long long shift_ms(void) {
  const char *path = getenv("SHIFT_FILE");
  FILE *file = path ? fopen(path, "r") : NULL;
  long long ms = 0;
  if (file) {
    if (fscanf(file, "%lld", &ms) != 1) ms = 0;
    fclose(file);
  }
  return ms;
}

static void add(long long *seconds, long long *fraction, long long second) {
  long long ms = shift_ms();
  *fraction += ms % 1000 * (second / 1000);
  *seconds += ms / 1000 + *fraction / second;
  *fraction %= second;
  if (*fraction < 0) { *fraction += second; *seconds -= 1; }
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
  static int (*real)(struct timeval *, void *);
  if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  int failed = real(tv, tz);
  long long seconds = tv->tv_sec, fraction = tv->tv_usec;
  add(&seconds, &fraction, 1000000);
  tv->tv_sec = seconds;
  tv->tv_usec = fraction;
  return failed;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(id, ts);
  if (id == CLOCK_REALTIME) {
    long long seconds = ts->tv_sec, fraction = ts->tv_nsec;
    add(&seconds, &fraction, 1000000000);
    ts->tv_sec = seconds;
    ts->tv_nsec = fraction;
  }
  return failed;
}
