// NCCL's interface, for ranks that are threads of one process and memory of the host: a stand-in for libnccl.so.2.
//
// Stricter than NCCL: messages outside of a group are errors, as are ranks that differ in a call or its arguments. Each
// call must be on the stream that the environment variable EMULATED_STREAM names.
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

namespace {

enum { Success = 0, InvalidArgument = 4, InvalidUsage = 5 };
const size_t kSizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};

struct Call {
  const void *send;
  void *receive;
  size_t count;
  int type, root, what;
};

struct Comm {
  int size, rank;
};

std::mutex mutex;
std::condition_variable changed;
std::vector<Call> calls;  // of each rank, in the collective under way
int arrived = 0, round_ = 0;
std::vector<std::vector<std::deque<std::vector<char>>>> mail;  // from, to
thread_local int depth = 0;
thread_local std::vector<std::function<int()>> sends, others;

void wait_for_all(std::unique_lock<std::mutex> &lock, int size) {
  int mine = round_;
  if (++arrived == size) {
    arrived = 0;
    ++round_;
    changed.notify_all();
  } else {
    changed.wait(lock, [&] { return round_ != mine; });
  }
}

template <class T> void add_up(std::vector<char> &out, size_t count) {
  std::vector<T> total(count);
  for (const Call &call : calls)
    for (size_t i = 0; i < count; ++i) total[i] += static_cast<const T *>(call.send)[i];
  std::memcpy(out.data(), total.data(), count * sizeof(T));
}

int collective(Comm *comm, Call call) {
  std::unique_lock<std::mutex> lock(mutex);
  calls.resize(comm->size);
  calls[comm->rank] = call;
  wait_for_all(lock, comm->size);
  bool same = true;
  for (const Call &other : calls)
    same &= other.count == call.count && other.type == call.type && other.what == call.what && other.root == call.root;
  size_t bytes = call.count * kSizes[call.type];
  std::vector<char> out(bytes);
  if (same && call.what == 0 && call.type == 7) add_up<float>(out, call.count);
  else if (same && call.what == 0 && call.type == 8) add_up<double>(out, call.count);
  else if (same && call.what == 1) std::memcpy(out.data(), calls[call.root].send, bytes);
  else if (same && call.what == 2) {
    out.clear();
    for (const Call &other : calls) {
      const char *from = static_cast<const char *>(other.send);
      out.insert(out.end(), from, from + bytes);
    }
  } else same = false;
  wait_for_all(lock, comm->size);
  if (same) std::memcpy(call.receive, out.data(), out.size());
  wait_for_all(lock, comm->size);
  return same ? Success : InvalidArgument;
}

int on_stream(std::intptr_t stream) { return stream == std::atol(std::getenv("EMULATED_STREAM")); }

int run(std::function<int()> work) {
  if (!depth) return work();
  others.push_back(work);
  return Success;
}

}  // namespace

struct Identity {
  char text[128];
};

extern "C" {
const char *ncclGetErrorString(int) { return "invalid"; }
int ncclGetVersion(int *version) { return *version = 22707, Success; }
int ncclGetUniqueId(Identity *id) {
  for (int i = 0; i < 128; ++i) id->text[i] = static_cast<char>(255 - i);
  return Success;
}
int ncclCommInitRankConfig(Comm **comm, int size, Identity id, int rank, void *) {
  for (int i = 0; i < 128; ++i)
    if (id.text[i] != static_cast<char>(255 - i)) return InvalidArgument;
  *comm = new Comm{size, rank};
  std::unique_lock<std::mutex> lock(mutex);
  mail.resize(size);
  for (auto &to : mail) to.resize(size);
  wait_for_all(lock, size);
  return Success;
}
int ncclAllReduce(const void *send, void *receive, size_t count, int type, int op, Comm *comm, std::intptr_t stream) {
  if (op || !on_stream(stream)) return InvalidArgument;
  return run([=] { return collective(comm, {send, receive, count, type, 0, 0}); });
}
int ncclBroadcast(const void *send, void *receive, size_t count, int type, int root, Comm *comm, std::intptr_t stream) {
  if (!on_stream(stream)) return InvalidArgument;
  return run([=] { return collective(comm, {send, receive, count, type, root, 1}); });
}
int ncclAllGather(const void *send, void *receive, size_t count, int type, Comm *comm, std::intptr_t stream) {
  if (!on_stream(stream)) return InvalidArgument;
  return run([=] { return collective(comm, {send, receive, count, type, 0, 2}); });
}
int ncclSend(const void *send, size_t count, int type, int peer, Comm *comm, std::intptr_t stream) {
  if (!depth) return InvalidUsage;
  if (!on_stream(stream) || peer == comm->rank) return InvalidArgument;
  sends.push_back([=] {
    const char *from = static_cast<const char *>(send);
    std::unique_lock<std::mutex> lock(mutex);
    mail[comm->rank][peer].emplace_back(from, from + count * kSizes[type]);
    changed.notify_all();
    return 0 + Success;
  });
  return Success;
}
int ncclRecv(void *receive, size_t count, int type, int peer, Comm *comm, std::intptr_t stream) {
  if (!depth) return InvalidUsage;
  if (!on_stream(stream) || peer == comm->rank) return InvalidArgument;
  others.push_back([=] {
    std::unique_lock<std::mutex> lock(mutex);
    auto &box = mail[peer][comm->rank];
    changed.wait(lock, [&] { return !box.empty(); });
    std::vector<char> data = box.front();
    box.pop_front();
    if (data.size() != count * kSizes[type]) return 0 + InvalidArgument;
    std::memcpy(receive, data.data(), data.size());
    return 0 + Success;
  });
  return Success;
}
int ncclGroupStart() { return ++depth, Success; }
int ncclGroupEnd() {
  if (--depth) return Success;
  int result = Success;
  for (auto *list : {&sends, &others}) {
    for (auto &work : *list)
      if (int code = work()) result = code;
    list->clear();
  }
  return result;
}
#define UNUSED(name) \
  int name() { return InvalidUsage; }
UNUSED(ncclBcast) UNUSED(ncclCommCount) UNUSED(ncclCommCuDevice) UNUSED(ncclCommGetAsyncError)
UNUSED(ncclCommInitAll) UNUSED(ncclCommSplit) UNUSED(ncclCommUserRank) UNUSED(ncclReduce) UNUSED(ncclReduceScatter)
int ncclCommAbort(Comm *) { return Success; }
int ncclCommDestroy(Comm *) { return Success; }
}
