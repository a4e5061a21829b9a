// Fibers: each GPU thread has a stack and is switched to and from by hand (x86-64, System V ABI).
// A stack is taken when a thread first runs and given back when it ends, so a kernel without
// barriers touches one stack only. Below each stack lies a page that faults.
#include <sys/mman.h>

#include "state.h"

extern "C" void metal_sim_switch(void** save, void* to);
asm(R"(
.text
.globl metal_sim_switch
.hidden metal_sim_switch
metal_sim_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");

namespace metal_sim {

static unsigned char** free_stacks;
static uint32_t free_count;
static void* scheduler;
static void** buffers;

void make_fibers() {
  const uint64_t each = state.job->stack_bytes + PAGE;
  const uint32_t count = state.most_threads;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  unsigned char* pool =
      (unsigned char*)mmap(nullptr, each * count, PROT_READ | PROT_WRITE, flags, -1, 0);
  free_stacks =
      (unsigned char**)mmap(nullptr, count * sizeof(void*), PROT_READ | PROT_WRITE, flags, -1, 0);
  for (uint32_t i = 0; i < count; i++) {
    mprotect(pool + each * i, PAGE, PROT_NONE);
    free_stacks[count - 1 - i] = pool + each * i + PAGE;
  }
  free_count = count;
  buffers = (void**)mmap(nullptr, (state.job->regions + 1) * sizeof(void*), PROT_READ | PROT_WRITE,
                         flags, -1, 0);
  for (uint32_t i = 0; i < state.job->regions; i++)
    buffers[i] = state.mapping + state.regions[i].handed;
}

void yield_thread() {
  finish_write();
  state.job->switches++;
  metal_sim_switch(&state.current->stack_pointer, scheduler);
}

static void run_kernel() {
  ((void (*)(void**))state.job->entry)(buffers);
  state.current->waiting = done;
  yield_thread();
  __builtin_trap();
}

void resume(Thread* thread) {
  if (!thread->stack_pointer) {
    thread->stack = free_stacks[--free_count];
    void** top = (void**)(thread->stack + state.job->stack_bytes);
    *--top = nullptr;  // run_kernel's return address: keeps its frame aligned as after a call
    *--top = (void*)run_kernel;
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    thread->stack_pointer = top;
  }
  state.current = thread;
  metal_sim_switch(&scheduler, thread->stack_pointer);
}

void retire(Thread* thread) { free_stacks[free_count++] = thread->stack; }

}  // namespace metal_sim
