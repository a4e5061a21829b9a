// One launch: memory, signals, confinement, the grid. Called once by child.py; it never returns.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

#include "state.h"

using namespace metal_sim;

static Kind kind_of(int signal, unsigned char* address) {
  if (signal == SIGPROF) return time_out;
  if (signal == SIGFPE) return division_by_zero;
  const Thread* thread = state.current;
  bool below = thread && address < thread->stack && address >= thread->stack - PAGE;
  return below ? stack_overflow : memory_fault;
}

static void on_signal(int signal, siginfo_t* info, void* context) {
  uint64_t place = ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
  const bool in_kernel = place >= (uint64_t)state.image_low && place < (uint64_t)state.image_high;
  if (!in_kernel) place = state.last_place - 1;  // within a check, or the C library
  unsigned char* address = (unsigned char*)info->si_addr;
  Kind kind = kind_of(signal, address);
  if (Finding* finding = found(kind, place + 1))  // as a return address: behind the instruction
    if (kind == memory_fault)
      for (uint32_t i = 0; i < state.job->regions; i++) {
        unsigned char* start = state.mapping + state.regions[i].start;
        int64_t offset = address - start, nearest = finding->offset;
        if (finding->region >= 0 && (offset < 0 || offset > nearest)) continue;
        finding->region = (int32_t)i;
        finding->offset = offset;
        finding->value = (int64_t)state.regions[i].bytes;
      }
  leave(stopped);
}

static void* room(uint64_t bytes) {
  return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
              -1, 0);
}

static void catch_signals() {
  stack_t stack = {};
  stack.ss_size = 65536;
  stack.ss_sp = room(stack.ss_size);
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGPROF};
  for (int signal : signals) sigaction(signal, &action, nullptr);
  itimerval limit = {};
  limit.it_value.tv_sec = state.job->time_limit_us / 1000000;
  limit.it_value.tv_usec = state.job->time_limit_us % 1000000;
  setitimer(ITIMER_PROF, &limit, nullptr);  // CPU time: a busy machine does not end a kernel
}

// From here on only read, write, exit and the return from a signal are allowed. Strict mode says just
// that, but is refused to a process that has a filter already, as one in the lab's sandbox has.
static bool confine() {
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0) return true;
  sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog filter = {sizeof(steps) / sizeof(steps[0]), steps};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

extern "C" {
uint64_t metal_sim_size(uint32_t which) {
  const uint64_t sizes[] = {sizeof(Job), sizeof(Region), sizeof(GroupVariable), sizeof(Finding)};
  return sizes[which];
}

void metal_sim_run(unsigned char* mapping, unsigned char* image) {
  Job* job = (Job*)mapping;
  state.job = job;
  state.mapping = mapping;
  state.regions = (Region*)(mapping + job->regions_at);
  state.group_variables = (GroupVariable*)(mapping + job->group_variables_at);
  state.image_low = image;
  state.image_high = image + job->image_bytes;
  state.group_low = image + job->group_section;
  state.group_high = state.group_low + job->group_bytes;
  job->entry += (uint64_t)image;
  state.random = job->seed * 2654435761u + 1;
  if (!state.random) state.random = 1;
  state.most_threads = job->threads[0] * job->threads[1] * job->threads[2];
  state.threads = (Thread*)room(state.most_threads * sizeof(Thread));
  state.simdgroups = (Simdgroup*)room((state.most_threads / LANES + 1) * sizeof(Simdgroup));
  make_fibers();
  prepare_checks();
  catch_signals();
  job->confined = confine();
  run_grid();
  count_unwritten();
  leave(finished);
}
}
