// The threads of a kernel. Where they wait for each other each one is a fiber; else they are calls.
//
// Blocks run in random order. What a thread finds in shared memory that nobody wrote is NaN. A
// barrier that some thread never reaches, and threads that wait for ever, are reported.
#include <sys/mman.h>
#if !defined(__x86_64__) || defined(HOST_UCONTEXT)
#include <ucontext.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "device.h"

using cuda_on_host::Dim;
using cuda_on_host::Group;
using cuda_on_host::Kernel;
using cuda_on_host::Thread;

namespace host {

constexpr size_t stack_size = 128 << 10;
constexpr int rounds_of_waiting = 20000;  // in which nothing else happens, until it is for ever

struct Block;

struct Fiber {
  Thread thread;
  Block* block = nullptr;
  int warp = 0;
  bool done = false, waiting = false;
  Group group = cuda_on_host::nobody;
  unsigned mask = 0;
};

struct Block {
  Dim place;
  uint64_t sleeps_until = 0;              // a round
  std::vector<uint64_t> warp_sleeps_until;
  std::vector<Fiber*> fibers;
  std::vector<char> shared;         // dynamic
  std::vector<char> static_shared;  // while another block runs
  std::vector<uint64_t> slots;      // of warps
};

static std::vector<char*> stacks;
static Fiber* running = nullptr;
static const Kernel* kernel = nullptr;
static const void* arguments = nullptr;
static uint64_t ticks = 0;
static bool trapped = false;

static char* stack(size_t number) {
  while (stacks.size() <= number) {
    void* made = mmap(nullptr, stack_size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) abort();
    stacks.push_back((char*)made);
  }
  return stacks[number];
}

// ------------------------------------------------------------------------- from fiber to fiber

#if defined(__x86_64__) && !defined(HOST_UCONTEXT)
// What a call keeps, on the stack, and the place of the stack: far less than a ucontext.
extern "C" void host_switch(void** save, void* to);
asm(R"(
.text
.globl host_switch
.type host_switch,@function
host_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");
static void* scheduler_stack;
static std::vector<void*> places;
static size_t running_number;
static void leave() { host_switch(&places[running_number], scheduler_stack); }
static void enter(size_t number) {
  running_number = number;
  host_switch(&scheduler_stack, places[number]);
}
static void body();
static void begin(size_t number) {
  if (places.size() <= number) places.resize(number + 1);
  auto* top = (void**)(stack(number) + stack_size - 64);
  *--top = nullptr;  // the stack is aligned as after a call
  *--top = (void*)body;
  top -= 6;
  memset(top, 0, 6 * sizeof *top);
  places[number] = top;
}
#else
static std::deque<ucontext_t> places;  // which must not move
static ucontext_t scheduler;
static size_t running_number;
static void leave() { swapcontext(&places[running_number], &scheduler); }
static void enter(size_t number) {
  running_number = number;
  swapcontext(&scheduler, &places[number]);
}
static void body();
static void begin(size_t number) {
  if (places.size() <= number) places.resize(number + 1);
  ucontext_t& made = places[number];
  getcontext(&made);
  made.uc_stack.ss_sp = stack(number);
  made.uc_stack.ss_size = stack_size;
  made.uc_link = nullptr;
  makecontext(&made, body, 0);
}
#endif

static void body() {
  kernel->run(arguments);
  running->done = true;
  leave();
  abort();  // it is not entered again
}

static void stop() {
  trapped = true;
  running->done = true;
  leave();
}

static void wait(Group group, unsigned mask) {
  if (group == cuda_on_host::warp_group && !(mask >> running->thread.lane & 1)) {
    fail(launch_failure, "kernel %s: lane %u waits for lanes %08x, without itself", kernel->name,
         running->thread.lane, mask);
    stop();
  }
  running->waiting = true, running->group = group, running->mask = mask;
  leave();
}

static unsigned active() {
  unsigned found = 0;
  for (Fiber* each : running->block->fibers)
    if (each->warp == running->warp && !each->done) found |= 1u << each->thread.lane;
  return found;
}

static uint64_t clock_ticks() { return ticks += 64; }

static void trap() {
  fail(launch_failure, "kernel %s: it stopped by itself (__trap)", kernel->name);
  stop();
}

// ---------------------------------------------------------------------------------- the threads

static Thread thread_of(Dim grid, Dim block, Dim place, unsigned number) {
  Thread made{};
  made.thread = {number % block.x, number / block.x % block.y, number / block.x / block.y};
  made.block = place, made.block_size = block, made.grid_size = grid;
  made.lane = number % 32;
  made.wait = wait, made.active = active, made.clock = clock_ticks, made.trap = trap;
  return made;
}

static bool may_go(const Fiber& fiber, const std::vector<Block*>& blocks) {
  auto all_wait = [&](Fiber* other, Group group) {
    return other->done || (other->waiting && other->group == group);
  };
  switch (fiber.group) {
    case cuda_on_host::nobody:
      return true;
    case cuda_on_host::warp_group:
      for (Fiber* other : fiber.block->fibers)
        if (other->warp == fiber.warp && (fiber.mask >> other->thread.lane & 1) &&
            !all_wait(other, cuda_on_host::warp_group))
          return false;
      return true;
    case cuda_on_host::block_group:
      for (Fiber* other : fiber.block->fibers)
        if (!all_wait(other, cuda_on_host::block_group)) return false;
      return true;
    case cuda_on_host::cluster_group:
      for (Block* block : blocks)
        for (Fiber* other : block->fibers)
          if (!all_wait(other, cuda_on_host::cluster_group)) return false;
      return true;
  }
  return true;
}

static void release_group(const Fiber& fiber, const std::vector<Block*>& blocks) {
  Group group = fiber.group;
  unsigned mask = fiber.mask;
  int warp = fiber.warp;
  auto go = [&](Fiber* other) {
    if (other->waiting && other->group == group) other->waiting = false;
  };
  if (group == cuda_on_host::cluster_group) {
    for (Block* block : blocks)
      for (Fiber* other : block->fibers) go(other);
    return;
  }
  Block* block = fiber.block;
  for (Fiber* other : block->fibers)
    if (group == cuda_on_host::block_group ||
        (other->warp == warp && (mask >> other->thread.lane & 1)))
      go(other);
}

// Now and then a warp, or a block among several, falls far behind the others.
static void fall_behind(std::vector<Fiber*>& fibers, const std::vector<size_t>& numbers,
                        const std::vector<Block*>& blocks, uint64_t round) {
  Fiber* any = fibers[numbers[randomness() % numbers.size()]];
  if (blocks.size() > 1 && randomness() % 16 == 0)
    any->block->sleeps_until = round + randomness() % 64;
  if (randomness() % 16 == 0)
    any->block->warp_sleeps_until[any->warp] = round + randomness() % 16;
}

static bool sleeps(const Fiber& fiber, uint64_t round) {
  return round < fiber.block->sleeps_until || round < fiber.block->warp_sleeps_until[fiber.warp];
}

// Run the fibers of some blocks, which all are there at once, until all have returned.
static int run_fibers(std::vector<Block*>& blocks) {
  size_t shared = kernel->shared_end - kernel->shared_begin;
  std::vector<Fiber*> left;
  for (Block* block : blocks)
    for (Fiber* fiber : block->fibers) left.push_back(fiber);
  std::vector<size_t> numbers(left.size());
  for (size_t i = 0; i < left.size(); i++) begin(i), numbers[i] = i;
  std::vector<Fiber*> fibers = left;
  Block* loaded = nullptr;
  int idle = 0;
  for (uint64_t round = 0; !numbers.empty(); round++) {
    fall_behind(fibers, numbers, blocks, round);
    // Warps in random order, and the threads of each.
    size_t turn = randomness() % numbers.size();
    std::rotate(numbers.begin(), numbers.begin() + turn, numbers.end());
    if (randomness() & 1) std::reverse(numbers.begin(), numbers.end());
    bool progress = false, entered = false;
    for (size_t number : numbers) {
      Fiber* fiber = fibers[number];
      if (sleeps(*fiber, round)) {
        entered = true;  // it will be
        continue;
      }
      if (fiber->waiting && fiber->group != cuda_on_host::nobody) {
        if (!may_go(*fiber, blocks)) continue;
        release_group(*fiber, blocks);
      }
      fiber->waiting = false;
      if (shared && loaded != fiber->block) {
        if (loaded) memcpy(loaded->static_shared.data(), kernel->shared_begin, shared);
        memcpy(kernel->shared_begin, fiber->block->static_shared.data(), shared);
        loaded = fiber->block;
      }
      running = fiber;
      *kernel->current = &fiber->thread;
      enter(number);
      entered = true;
      if (trapped) return launch_failure;
      progress |= fiber->done || fiber->group != cuda_on_host::nobody;
    }
    numbers.erase(std::remove_if(numbers.begin(), numbers.end(),
                                 [&](size_t number) { return fibers[number]->done; }),
                  numbers.end());
    idle = progress ? 0 : idle + 1;
    if (idle > rounds_of_waiting || (!entered && !numbers.empty())) {
      size_t at_barrier = 0;
      for (size_t number : numbers) at_barrier += fibers[number]->group != cuda_on_host::nobody;
      return fail(launch_failure,
                  "kernel %s: %zu threads wait for ever, %zu of them at a barrier that others "
                  "never reach", kernel->name, numbers.size(), at_barrier);
    }
  }
  return success;
}

int run_grid(const Kernel& given, const void* packed, Dim grid, Dim block, size_t dynamic_shared,
             bool together) {
  kernel = &given, arguments = packed, trapped = false;
  size_t many = size_t(grid.x) * grid.y * grid.z, threads = size_t(block.x) * block.y * block.z;
  size_t shared = given.shared_end - given.shared_begin;
  auto place_of = [&](size_t number) {
    return Dim{unsigned(number % grid.x), unsigned(number / grid.x % grid.y),
               unsigned(number / grid.x / grid.y)};
  };
  size_t at_once = together ? many : given.cluster;
  std::vector<size_t> order(many / at_once);
  std::iota(order.begin(), order.end(), size_t(0));
  std::shuffle(order.begin(), order.end(), randomness);

  if (!given.waits) {
    Thread thread{};
    std::vector<char> room(dynamic_shared + 1024);
    for (size_t number : order) {
      if (shared) memset(given.shared_begin, 0xff, shared);
      if (dynamic_shared) memset(room.data(), 0xff, room.size());
      thread = thread_of(grid, block, place_of(number), 0);
      thread.dynamic_shared = (char*)(((uintptr_t)room.data() + 1023) / 1024 * 1024);
      *given.current = &thread;
      given.run_block(packed, randomness() & 1);
    }
    return failure;
  }

  for (size_t first : order) {
    std::vector<Block> blocks(at_once);
    std::vector<Fiber> fibers(at_once * threads);
    std::vector<Block*> pointers;
    for (size_t i = 0; i < at_once; i++) {
      Block& made = blocks[i];
      made.place = place_of(first * at_once + i);
      made.shared.assign(dynamic_shared + 1024, char(0xff));
      made.static_shared.assign(shared, char(0xff));
      made.warp_sleeps_until.assign((threads + 31) / 32, 0);
      made.slots.assign((threads + 31) / 32 * 32 * 8, 0);
      for (size_t j = 0; j < threads; j++) {
        Fiber& fiber = fibers[i * threads + j];
        fiber.thread = thread_of(grid, block, made.place, j);
        fiber.thread.dynamic_shared =
            (char*)(((uintptr_t)made.shared.data() + 1023) / 1024 * 1024);
        fiber.thread.warp_slots = made.slots.data() + j / 32 * 32 * 8;
        fiber.block = &made, fiber.warp = j / 32;
        made.fibers.push_back(&fiber);
      }
      pointers.push_back(&made);
    }
    if (int status = run_fibers(pointers)) return status;
  }
  return failure;
}

}  // namespace host
