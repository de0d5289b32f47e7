/* A stand-in for the NVIDIA driver's management library, for tests.
 *
 * The GPUs are in a memory-mapped file ($FAKE_NVML_STATE), so every process of a test sees the same ones.
 * Readers take no lock. Writers take flock(2) on that file, which the kernel releases when they are killed, and publish
 * with one atomic store, so a SIGKILL at any point leaves the old state or the new one.
 *
 * Power is a function of time: each change appends a segment (a constant, square or sine wave, clipped at the power limit)
 * with the energy up to its start, so the counter is the exact integral and a sensor may look back in time. Work is a
 * segment that says when it ends: the GPU then rests, whatever becomes of the process that drove it.
 * The last KEPT segments are remembered; the energy or power at an instant before them is NaN.
 * layout.py mirrors the structures below; fake_nvml_state_bytes() guards against a difference in size.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX_GPUS 16
#define MAX_PROCESSES 32
#define MAX_MIG 7
#define N_SEGMENTS (1 << 17) /* five minutes at 400 changes a second; the file has holes where nothing was written */
#define KEPT (N_SEGMENTS - 4096) /* the others may be overwritten while a slow reader looks at them */
#define MAX_PLANNED 64
#define N_EVENTS 4096
#define MAGIC 0x4a4f554du
#define PI 3.14159265358979323846
#define GPU_IDLE 0x1u /* nvmlClocksEventReason… */
#define SW_POWER_CAP 0x4u

enum { /* nvmlReturn_t */
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, VERSION_MISMATCH = 25, UNKNOWN = 999
};
enum { /* what errors and delays are injected into; CallClass in layout.py */
    DEVICE, IDENTITY, MEMORY, PROCESSES, POWER, ENERGY, LIMIT_READ, LIMIT_SET, CLOCK_READ, CLOCK_SET, REASONS,
    TEMPERATURE, UTILIZATION, MIG, MODE, N_CLASSES
};
enum { SET_LIMIT = 1, LOCK_SM, UNLOCK_SM, LOCK_MEMORY, UNLOCK_MEMORY, SET_PERSISTENCE, SET_MIG, SET_OTHER }; /* Event.kind */
enum { CONSTANT, SQUARE, SINE };                                                                             /* Segment.shape */

typedef struct {
    int64_t at_ns, origin_ns, period_ns; /* CLOCK_MONOTONIC; the wave's phase is 0 at its origin */
    int64_t until_ns;                    /* then it rests at rest_w; 0: it goes on */
    double energy_j, power_w, amplitude_w, rest_w, celsius; /* energy and temperature at its start */
    uint64_t reasons;                    /* while it works, beside the power cap's */
    int32_t shape, cap_acts;
    uint32_t limit_mw, sm_mhz, utilization, unused; /* sm_mhz while it works; 0: it follows from lock and cap */
} Segment;
typedef struct {
    int64_t from_ns, until_ns; /* 0 and 0: always; only the end 0: from then on */
} Span;
typedef struct {
    int32_t code, left; /* left < 0: until it is taken back */
    uint32_t delay_us, calls;
    Span when;
} Fault;
typedef struct {
    uint32_t pid, lives_with_pid; /* pid 0: the slot is free */
    uint64_t bytes;
} Process;
typedef struct {
    char uuid[96]; /* empty: no instance */
    uint64_t memory_total, memory_used;
    uint32_t gpu_instance, compute_instance;
} Mig;
typedef struct {
    char name[96], uuid[96], serial[32];
    uint32_t architecture, capability_major, capability_minor, pci_device_id;
    uint64_t memory_total, memory_baseline, memory_reserved;
    uint32_t limit_min_mw, limit_max_mw, limit_default_mw, sm_max_mhz, sm_min_mhz, sm_step_mhz, memory_max_mhz, sm_mhz;
    uint64_t sm_lock, memory_lock; /* minimum << 32 | maximum in MHz; 0: unlocked */
    uint64_t event_reasons;        /* beside the power cap's, which follows from the power */
    int32_t temperature_c, memory_temperature_c, utilization_gpu, utilization_memory, pstate, persistence, mig_enabled, ecc;
    int32_t has_power_fields, unused;
    double ambient_c, celsius_per_w, thermal_tau_s; /* celsius_per_w 0: temperature_c, whatever the power is */
    double power_gain;                              /* of the sensor, not of the counter */
    int64_t sensor_phase_ns;                        /* when, in its period, a reading is renewed */
    int64_t update_period_ns, instant_window_ns, plain_window_ns, average_window_ns, counter_period_ns;
    double counter_from_j; /* what the GPU had used when its driver was loaded */
    Span counter_stuck; /* from 0: it runs */
    uint64_t counter_start_mj, counter_wrap_mj;
    int64_t power_reading_mw; /* < 0: what the power is */
    Span power_reading_when;
    Fault faults[N_CLASSES];
    Process processes[MAX_PROCESSES];
    Mig migs[MAX_MIG];
    _Atomic uint64_t n_segments;
    Segment segments[N_SEGMENTS];
} Gpu;
typedef struct {
    int64_t at_ns;
    uint32_t pid, gpu, kind, first, second;
    int32_t result;
} Event;
typedef struct {
    uint32_t magic, n_gpus;
    int32_t privileged, init_error, cuda_version;
    uint32_t n_loads; /* how often the driver was loaded anew: who opened the library before gets nothing more of it */
    char path[512], driver_version[80], nvml_version[80];
    _Atomic uint64_t n_events;
    Event events[N_EVENTS];
    Gpu gpus[MAX_GPUS];
} State;

typedef void *Device; /* 0xFA000000 | MIG instance + 1 << 8 | GPU + 1: never dereferenced by a caller */
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } ProcessInfo;
typedef struct { char legacy[16]; unsigned domain, bus, device, pci_device_id, pci_subsystem_id; char id[32]; } PciInfo;
typedef struct { unsigned version, scope, mw; } PowerValue;
typedef struct { unsigned version, sensor; int celsius; } Temperature;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices; unsigned long long memory_mb; } Attributes;
typedef union { double d; unsigned ui; unsigned long long ull; } Value;
typedef struct { uint32_t field, scope; int64_t timestamp_us, latency_us; uint32_t type; int32_t result; Value value; } FieldValue;

static State *the_state;
static uint32_t the_load;
static _Atomic int users;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- power and energy ------------------------------------------------------------------------------------------ */

/* The integral over phase 0…x of max(sin − c, 0): what a clip at c takes from a sine. */
static double sine_excess(double x, double c) {
    if (c >= 1) return 0;
    if (c <= -1) return 1 - cos(x) - c * x;
    double rise = asin(c), width = PI - 2 * rise, whole = 2 * cos(rise) - c * width;
    double turns = floor((x - rise) / (2 * PI)), from = x - rise - turns * 2 * PI;
    double until = fmin(from, width);
    double zero_turns = floor(-rise / (2 * PI)), zero_from = fmin(-rise - zero_turns * 2 * PI, width);
    double part = cos(rise) - cos(rise + until) - c * until;
    double zero_part = cos(rise) - cos(rise + zero_from) - c * zero_from;
    return (turns - zero_turns) * whole + part - zero_part;
}

static double cap_w(const Segment *s) { return s->cap_acts ? s->limit_mw / 1000.0 : INFINITY; }

static int rests(const Segment *s, int64_t at) { return s->until_ns && at >= s->until_ns; }

static double wanted_w(const Segment *s, int64_t at) {
    if (rests(s, at)) return s->rest_w;
    if (s->shape == CONSTANT) return s->power_w;
    double turns = (double)(at - s->origin_ns) / (double)s->period_ns;
    if (s->shape == SINE) return s->power_w + s->amplitude_w * sin(2 * PI * turns);
    return s->power_w + (turns - floor(turns) < 0.5 ? s->amplitude_w : -s->amplitude_w);
}

/* Joules from the wave's origin to `at`. */
static double since_origin_j(const Segment *s, int64_t at) {
    double cap = cap_w(s), seconds = (double)(at - s->origin_ns) / 1e9, period = (double)s->period_ns / 1e9;
    if (s->shape == CONSTANT || s->amplitude_w == 0) return fmin(s->power_w, cap) * seconds;
    if (s->shape == SINE) {
        double x = 2 * PI * seconds / period, unit = s->amplitude_w * period / (2 * PI);
        double clipped = isinf(cap) ? 0 : sine_excess(x, (cap - s->power_w) / s->amplitude_w);
        return s->power_w * seconds + unit * (1 - cos(x) - clipped);
    }
    double high = fmin(s->power_w + s->amplitude_w, cap), low = fmin(s->power_w - s->amplitude_w, cap);
    double turns = floor(seconds / period), rest = seconds - turns * period;
    return (high + low) * turns * period / 2 + high * fmin(rest, period / 2) + low * fmax(rest - period / 2, 0);
}

static double segment_energy_j(const Segment *s, int64_t at) {
    int64_t until = rests(s, at) ? s->until_ns : at;
    double worked = since_origin_j(s, until) - since_origin_j(s, s->at_ns);
    return s->energy_j + worked + fmin(s->rest_w, cap_w(s)) * (double)(at - until) / 1e9;
}

/* The last segment that starts at or before `at`, else the oldest that is remembered. */
static const Segment *segment_at(Gpu *g, int64_t at) {
    uint64_t n = atomic_load(&g->n_segments), low = n > KEPT ? n - KEPT : 0, high = n - 1;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (g->segments[middle % N_SEGMENTS].at_ns <= at) low = middle;
        else high = middle - 1;
    }
    return &g->segments[low % N_SEGMENTS];
}

/* Whether `at` is before all that is remembered; what was before the GPU was made is as its first segment. */
static int forgotten(Gpu *g, int64_t at) { return atomic_load(&g->n_segments) > KEPT && segment_at(g, at)->at_ns > at; }

static double energy_j(Gpu *g, int64_t at) { return forgotten(g, at) ? NAN : segment_energy_j(segment_at(g, at), at); }

static double power_w(Gpu *g, int64_t at) {
    const Segment *s = segment_at(g, at);
    return forgotten(g, at) ? NAN : fmin(wanted_w(s, at), cap_w(s));
}

/* A body of one heat capacity that warms towards what its power would keep it at. */
static double warmed(const Gpu *g, double celsius, double watts, int64_t ns) {
    double end = g->ambient_c + g->celsius_per_w * watts;
    return end + (celsius - end) * exp(-(double)ns / 1e9 / g->thermal_tau_s);
}

/* The temperature at `at`, which is in this segment; of a wave, that of its mean. */
static double celsius(const Gpu *g, const Segment *s, int64_t at) {
    if (g->celsius_per_w <= 0) return g->temperature_c;
    int64_t until = rests(s, at) ? s->until_ns : at;
    double found = warmed(g, s->celsius, fmin(s->power_w, cap_w(s)), until - s->at_ns);
    return at > until ? warmed(g, found, fmin(s->rest_w, cap_w(s)), at - until) : found;
}

static int temperature_c(Gpu *g) {
    int64_t at = now_ns();
    return (int)lround(celsius(g, segment_at(g, at), at));
}

static int64_t last_update(const Gpu *g, int64_t at, int64_t period) {
    return period > 0 ? at - (at - g->sensor_phase_ns) % period : at;
}

static int within(const Span *span, int64_t at) { return at >= span->from_ns && (!span->until_ns || at < span->until_ns); }

static unsigned sensed_mw(Gpu *g, int64_t window_ns) {
    int64_t now = now_ns(), at = last_update(g, now, g->update_period_ns);
    if (g->power_reading_mw >= 0 && within(&g->power_reading_when, now)) return (unsigned)g->power_reading_mw;
    double w = window_ns > 0 ? (energy_j(g, at) - energy_j(g, at - window_ns)) * 1e9 / (double)window_ns : power_w(g, at);
    return (unsigned)lround(w * g->power_gain * 1000);
}

static unsigned long long counter_mj(Gpu *g) {
    int64_t now = now_ns(), at = last_update(g, now, g->counter_period_ns);
    const Span *stuck = &g->counter_stuck;
    if (stuck->from_ns > 0 && within(stuck, now) && at > stuck->from_ns) at = stuck->from_ns;
    unsigned long long mj = g->counter_start_mj + (unsigned long long)(fmax(energy_j(g, at) - g->counter_from_j, 0) * 1000);
    return g->counter_wrap_mj > 0 ? mj % g->counter_wrap_mj : mj;
}

static unsigned long long event_reasons(Gpu *g) {
    int64_t at = now_ns();
    const Segment *s = segment_at(g, at);
    unsigned long long found = g->event_reasons | (rests(s, at) ? GPU_IDLE : s->reasons);
    return wanted_w(s, at) > cap_w(s) ? found | SW_POWER_CAP : found;
}

static unsigned utilization(Gpu *g) {
    int64_t at = now_ns();
    const Segment *s = segment_at(g, at);
    return s->utilization && !rests(s, at) ? s->utilization : (unsigned)g->utilization_gpu;
}

/* ---- the state file -------------------------------------------------------------------------------------------- */

static int lock(State *state) {
    int file = open(state->path, O_RDWR | O_CLOEXEC);
    if (file >= 0) flock(file, LOCK_EX);
    return file;
}

static void unlock(int file) {
    if (file >= 0) close(file);
}

static State *map_state(const char *path) {
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return NULL;
    off_t size = lseek(file, 0, SEEK_END);
    State *found = size == (off_t)sizeof(State)
                       ? mmap(NULL, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    close(file);
    return found == MAP_FAILED ? NULL : found;
}

static void note(State *state, Gpu *g, uint32_t kind, uint32_t first, uint32_t second, int result) {
    int file = lock(state);
    uint64_t n = atomic_load(&state->n_events);
    Event *event = &state->events[n % N_EVENTS];
    *event = (Event){now_ns(), (uint32_t)getpid(), (uint32_t)(g - state->gpus), kind, first, second, result};
    atomic_store(&state->n_events, n + 1);
    unlock(file);
}

static const Segment *newest(const Gpu *g) { return &g->segments[(atomic_load(&g->n_segments) - 1) % N_SEGMENTS]; }

/* The state in which `last` is at `at`, as the beginning of a segment like it. */
static Segment from(const Gpu *g, const Segment *last, int64_t at) {
    Segment next = *last;
    next.energy_j = segment_energy_j(last, at);
    next.celsius = celsius(g, last, at);
    next.at_ns = at;
    if (rests(last, at)) {
        next.shape = CONSTANT, next.power_w = last->rest_w, next.amplitude_w = 0, next.origin_ns = at;
        next.until_ns = 0, next.sm_mhz = 0, next.utilization = 0, next.reasons = GPU_IDLE;
    }
    return next;
}

static void push(Gpu *g, const Segment *next) {
    uint64_t n = atomic_load(&g->n_segments);
    g->segments[n % N_SEGMENTS] = *next;
    atomic_store(&g->n_segments, n + 1);
}

/* What the power does from `at` on (0: from now, or after what is planned), under the limit as it is. */
static int drive(State *state, Gpu *g, int64_t at, const Segment *wave) {
    int file = lock(state), result = SUCCESS;
    const Segment *last = newest(g);
    if (at == 0) at = now_ns() > last->at_ns ? now_ns() : last->at_ns;
    if (wave->until_ns && at < last->at_ns) at = last->at_ns; /* somebody set a limit since it was planned */
    if (at < last->at_ns || (wave->until_ns && wave->until_ns <= at)) {
        result = INVALID_ARGUMENT;
    } else {
        Segment next = from(g, last, at);
        next.origin_ns = at, next.until_ns = wave->until_ns;
        next.power_w = wave->power_w, next.amplitude_w = wave->amplitude_w, next.rest_w = wave->rest_w;
        next.period_ns = wave->period_ns, next.shape = wave->shape;
        next.sm_mhz = wave->sm_mhz, next.utilization = wave->utilization, next.reasons = wave->reasons;
        push(g, &next);
    }
    unlock(file);
    return result;
}

/* Another limit from now on, also for what is planned; cap_acts < 0: it acts or not as before. */
static int set_limit(State *state, Gpu *g, uint32_t mw, int32_t cap_acts) {
    int file = lock(state), result = SUCCESS;
    int64_t at = now_ns();
    uint64_t n = atomic_load(&g->n_segments), first = n;
    while (first > 1 && g->segments[(first - 1) % N_SEGMENTS].at_ns > at) first--;
    Segment planned[MAX_PLANNED];
    uint64_t n_planned = n - first;
    if (n_planned > MAX_PLANNED) {
        result = UNKNOWN;
    } else {
        for (uint64_t i = 0; i < n_planned; i++) planned[i] = g->segments[(first + i) % N_SEGMENTS];
        atomic_store(&g->n_segments, first);
        const Segment *last = newest(g);
        Segment next = from(g, last, at > last->at_ns ? at : last->at_ns);
        for (uint64_t i = 0; i <= n_planned; i++) {
            next.limit_mw = mw;
            if (cap_acts >= 0) next.cap_acts = cap_acts;
            push(g, &next);
            if (i == n_planned) break;
            planned[i].energy_j = segment_energy_j(&next, planned[i].at_ns);
            planned[i].celsius = celsius(g, &next, planned[i].at_ns);
            next = planned[i];
        }
    }
    unlock(file);
    return result;
}

static uint32_t limit_mw(Gpu *g) { return newest(g)->limit_mw; }

static int alive(uint32_t pid) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t got = read(file, line, sizeof line - 1);
    close(file);
    if (got <= 0) return 0;
    line[got] = 0;
    char *end = strrchr(line, ')');
    return end && end[1] == ' ' && end[2] != 'Z' && end[2] != 'X';
}

static int holds(const Process *p) { return p->pid != 0 && (!p->lives_with_pid || alive(p->pid)); }

static unsigned long long used_bytes(Gpu *g) {
    unsigned long long used = g->memory_baseline;
    for (int i = 0; i < MAX_PROCESSES; i++)
        if (holds(&g->processes[i])) used += g->processes[i].bytes;
    return used < g->memory_total ? used : g->memory_total;
}

static int hold(State *state, Gpu *g, uint32_t pid, uint64_t bytes, uint32_t lives_with_pid) {
    int file = lock(state), result = NOT_FOUND;
    Process *slot = NULL;
    for (int i = 0; i < MAX_PROCESSES && !slot; i++)
        if (g->processes[i].pid == pid) slot = &g->processes[i];
    for (int i = 0; i < MAX_PROCESSES && !slot && bytes; i++)
        if (!holds(&g->processes[i])) slot = &g->processes[i];
    if (slot) {
        slot->bytes = bytes;
        slot->lives_with_pid = lives_with_pid;
        atomic_thread_fence(memory_order_release);
        slot->pid = bytes ? pid : 0;
        result = SUCCESS;
    }
    unlock(file);
    return result;
}

/* ---- for the tests: library.py, and processes that play an engine ---------------------------------------------- */

unsigned long fake_nvml_state_bytes(void) { return sizeof(State); }

State *fake_nvml_attach(const char *path) { return map_state(path); }

int fake_nvml_start(State *state, unsigned gpu, double watts, unsigned limit) {
    Gpu *g = &state->gpus[gpu];
    int64_t at = now_ns();
    g->segments[0] = (Segment){.at_ns = at, .origin_ns = at, .power_w = watts, .cap_acts = 1, .limit_mw = limit};
    atomic_store(&g->n_segments, 1);
    return SUCCESS;
}

int fake_nvml_drive(State *state, unsigned gpu, long long at, double watts, double amplitude, long long period, int shape) {
    if (gpu >= state->n_gpus || (shape != CONSTANT && period <= 0) || amplitude < 0) return INVALID_ARGUMENT;
    Segment wave = {.power_w = watts, .amplitude_w = amplitude, .period_ns = period, .shape = shape};
    return drive(state, &state->gpus[gpu], at, &wave);
}

/* What an engine does with a GPU: it works from `at` until `until` at a constant power, and then rests. */
int fake_nvml_work(State *state, unsigned gpu, long long at, long long until, double watts, double rest_w, unsigned mhz,
                   unsigned percent, unsigned long long reasons) {
    if (gpu >= state->n_gpus || until <= at) return INVALID_ARGUMENT;
    Segment work = {.power_w = watts, .rest_w = rest_w, .until_ns = until, .sm_mhz = mhz, .utilization = percent, .reasons = reasons};
    return drive(state, &state->gpus[gpu], at, &work);
}

/* From now on the temperature follows the power, from `celsius_now` on; celsius_per_w 0: as it is set. */
int fake_nvml_warm(State *state, unsigned gpu, double ambient_c, double celsius_per_w, double tau_s, double celsius_now) {
    Gpu *g = &state->gpus[gpu];
    int file = lock(state);
    Segment next = from(g, newest(g), now_ns() > newest(g)->at_ns ? now_ns() : newest(g)->at_ns);
    g->ambient_c = ambient_c, g->celsius_per_w = celsius_per_w, g->thermal_tau_s = tau_s;
    next.celsius = celsius_now;
    push(g, &next);
    unlock(file);
    return SUCCESS;
}

int fake_nvml_limit(State *state, unsigned gpu, unsigned mw, int cap_acts) {
    return set_limit(state, &state->gpus[gpu], mw, cap_acts);
}

/* The limit that holds the power back, in mW; 0 where the cap does nothing. */
unsigned fake_nvml_acting_limit_mw(State *state, unsigned gpu) {
    const Segment *last = newest(&state->gpus[gpu]);
    return last->cap_acts ? last->limit_mw : 0;
}

int fake_nvml_hold(State *state, unsigned gpu, unsigned pid, unsigned long long bytes, unsigned lives_with_pid) {
    return hold(state, &state->gpus[gpu], pid, bytes, lives_with_pid);
}

double fake_nvml_energy_j(State *state, unsigned gpu, long long at) { return energy_j(&state->gpus[gpu], at ? at : now_ns()); }
double fake_nvml_power_w(State *state, unsigned gpu, long long at) { return power_w(&state->gpus[gpu], at ? at : now_ns()); }
double fake_nvml_celsius(State *state, unsigned gpu, long long at) {
    Gpu *g = &state->gpus[gpu];
    if (at == 0) at = now_ns();
    return celsius(g, segment_at(g, at), at);
}
unsigned fake_nvml_limit_mw(State *state, unsigned gpu) { return limit_mw(&state->gpus[gpu]); }
unsigned long long fake_nvml_used_bytes(State *state, unsigned gpu) { return used_bytes(&state->gpus[gpu]); }
/* The next two act on the caller's own $FAKE_NVML_STATE and need nvmlInit. */
int fake_nvml_set_power_w(unsigned gpu, double watts) {
    if (!the_state) return UNINITIALIZED;
    return fake_nvml_drive(the_state, gpu, 0, watts, 0, 0, CONSTANT);
}

int fake_nvml_hold_memory(unsigned gpu, unsigned long long bytes) {
    if (!the_state) return UNINITIALIZED;
    return gpu < the_state->n_gpus ? hold(the_state, &the_state->gpus[gpu], (uint32_t)getpid(), bytes, 1) : INVALID_ARGUMENT;
}

/* ---- handles and faults ---------------------------------------------------------------------------------------- */

static Device handle(unsigned gpu, int mig) { return (Device)(uintptr_t)(0xFA000000u | (unsigned)(mig + 1) << 8 | (gpu + 1)); }

/* The GPU of a handle, and the MIG instance or -1. */
static int find(Device device, Gpu **g, int *mig) {
    uintptr_t value = (uintptr_t)device;
    unsigned index = (unsigned)(value & 0xff) - 1;
    *mig = (int)(value >> 8 & 0xff) - 1;
    if (!users || the_load != the_state->n_loads) return UNINITIALIZED;
    if (value >> 24 != 0xFA || index >= the_state->n_gpus || *mig >= MAX_MIG) return INVALID_ARGUMENT;
    *g = &the_state->gpus[index];
    return SUCCESS;
}

static int fault(Gpu *g, int class) {
    int classes[2] = {DEVICE, class};
    for (int i = class == DEVICE; i < 2; i++) {
        Fault *f = &g->faults[classes[i]];
        __atomic_fetch_add(&f->calls, 1, __ATOMIC_RELAXED);
        if (!within(&f->when, now_ns())) continue;
        if (f->delay_us) usleep(f->delay_us);
        int code = __atomic_load_n(&f->code, __ATOMIC_SEQ_CST), left = __atomic_load_n(&f->left, __ATOMIC_SEQ_CST);
        if (code == SUCCESS || left == 0) continue;
        if (left < 0 || __atomic_fetch_sub(&f->left, 1, __ATOMIC_SEQ_CST) > 0) return code;
    }
    return SUCCESS;
}

/* Opens a function on a whole GPU; real GPUs refuse most of them on a MIG instance. */
#define ON_GPU(class)                                           \
    Gpu *g;                                                     \
    int mig, failed = find(device, &g, &mig);                   \
    if (failed || (failed = fault(g, class))) return failed;    \
    if (mig >= 0) return NOT_SUPPORTED;
#define ON_GPU_OR_MIG(class)                                    \
    Gpu *g;                                                     \
    int mig, failed = find(device, &g, &mig);                   \
    if (failed || (failed = fault(g, class))) return failed;

static int put_text(char *to, unsigned size, const char *text) {
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

/* ---- the library and the driver -------------------------------------------------------------------------------- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!users) {
        const char *path = getenv("FAKE_NVML_STATE");
        State *found = path ? map_state(path) : NULL;
        if (!found || found->magic != MAGIC) return DRIVER_NOT_LOADED;
        if (the_state) munmap(the_state, sizeof(State));
        the_state = found, the_load = found->n_loads;
    }
    if (the_state->init_error) return the_state->init_error;
    users++;
    return SUCCESS;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) {
    if (!users) return UNINITIALIZED;
    users--;
    return SUCCESS;
}
const char *nvmlErrorString(int code) {
    switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    case VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}
int nvmlSystemGetDriverVersion(char *text, unsigned size) { return users ? put_text(text, size, the_state->driver_version) : UNINITIALIZED; }
int nvmlSystemGetNVMLVersion(char *text, unsigned size) { return users ? put_text(text, size, the_state->nvml_version) : UNINITIALIZED; }
int nvmlSystemGetCudaDriverVersion(int *version) {
    if (!users) return UNINITIALIZED;
    *version = the_state->cuda_version;
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

/* ---- which GPUs ------------------------------------------------------------------------------------------------ */

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!users) return UNINITIALIZED;
    *count = the_state->n_gpus;
    return SUCCESS;
}
int nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

static int give(unsigned index, int mig, Device *device) {
    if (the_load != the_state->n_loads) return UNINITIALIZED;
    int failed = fault(&the_state->gpus[index], DEVICE);
    if (!failed) *device = handle(index, mig);
    return failed;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
    if (!users) return UNINITIALIZED;
    return index < the_state->n_gpus ? give(index, -1, device) : INVALID_ARGUMENT;
}
int nvmlDeviceGetHandleByIndex(unsigned index, Device *device) { return nvmlDeviceGetHandleByIndex_v2(index, device); }
int nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    if (!users) return UNINITIALIZED;
    if (!uuid) return INVALID_ARGUMENT;
    for (unsigned i = 0; i < the_state->n_gpus; i++) {
        if (!strcasecmp(the_state->gpus[i].uuid, uuid)) return give(i, -1, device);
        for (int m = 0; m < MAX_MIG; m++)
            if (*uuid && !strcasecmp(the_state->gpus[i].migs[m].uuid, uuid)) return give(i, m, device);
    }
    return NOT_FOUND;
}
int nvmlDeviceGetHandleBySerial(const char *serial, Device *device) {
    if (!users) return UNINITIALIZED;
    for (unsigned i = 0; i < the_state->n_gpus; i++)
        if (!strcmp(the_state->gpus[i].serial, serial)) return give(i, -1, device);
    return NOT_FOUND;
}
static unsigned pci_bus(unsigned index) { return 0x10 + 8 * index; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, Device *device) {
    unsigned domain = 0, bus, slot;
    if (!users) return UNINITIALIZED;
    if (sscanf(id, "%x:%x:%x", &domain, &bus, &slot) != 3 && (domain = 0, sscanf(id, "%x:%x", &bus, &slot) != 2)) return INVALID_ARGUMENT;
    for (unsigned i = 0; i < the_state->n_gpus; i++)
        if (domain == 0 && slot == 0 && pci_bus(i) == bus) return give(i, -1, device);
    return NOT_FOUND;
}
int nvmlDeviceGetIndex(Device device, unsigned *index) {
    ON_GPU_OR_MIG(IDENTITY)
    *index = mig >= 0 ? (unsigned)mig : (unsigned)(g - the_state->gpus);
    return SUCCESS;
}
int nvmlDeviceGetMinorNumber(Device device, unsigned *minor) {
    ON_GPU(IDENTITY)
    *minor = (unsigned)(g - the_state->gpus);
    return SUCCESS;
}
int nvmlDeviceGetName(Device device, char *text, unsigned size) {
    ON_GPU_OR_MIG(IDENTITY)
    return put_text(text, size, g->name);
}
int nvmlDeviceGetUUID(Device device, char *text, unsigned size) {
    ON_GPU_OR_MIG(IDENTITY)
    return put_text(text, size, mig >= 0 ? g->migs[mig].uuid : g->uuid);
}
int nvmlDeviceGetSerial(Device device, char *text, unsigned size) {
    ON_GPU(IDENTITY)
    return put_text(text, size, g->serial);
}
int nvmlDeviceGetPciInfo_v3(Device device, PciInfo *info) {
    ON_GPU(IDENTITY)
    unsigned bus = pci_bus((unsigned)(g - the_state->gpus));
    *info = (PciInfo){.bus = bus, .pci_device_id = g->pci_device_id};
    snprintf(info->legacy, sizeof info->legacy, "0000:%02X:00.0", bus);
    snprintf(info->id, sizeof info->id, "00000000:%02X:00.0", bus);
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
    ON_GPU_OR_MIG(IDENTITY)
    *major = (int)g->capability_major;
    *minor = (int)g->capability_minor;
    return SUCCESS;
}
int nvmlDeviceGetArchitecture(Device device, unsigned *architecture) {
    ON_GPU_OR_MIG(IDENTITY)
    *architecture = g->architecture;
    return SUCCESS;
}
int nvmlDeviceGetBrand(Device device, unsigned *brand) {
    ON_GPU_OR_MIG(IDENTITY)
    *brand = 14; /* NVML_BRAND_NVIDIA */
    return SUCCESS;
}

/* ---- memory and processes -------------------------------------------------------------------------------------- */

static void memory_of(Gpu *g, int mig, unsigned long long *total, unsigned long long *used) {
    *total = mig >= 0 ? g->migs[mig].memory_total : g->memory_total;
    *used = mig >= 0 ? g->migs[mig].memory_used : used_bytes(g);
}
int nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
    ON_GPU_OR_MIG(MEMORY)
    memory_of(g, mig, &memory->total, &memory->used);
    if (mig < 0) memory->used += g->memory_reserved; /* only the second version tells them apart */
    if (memory->used > memory->total) memory->used = memory->total;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(Device device, MemoryV2 *memory) {
    ON_GPU_OR_MIG(MEMORY)
    if (memory->version != (sizeof *memory | 2u << 24)) return VERSION_MISMATCH;
    memory_of(g, mig, &memory->total, &memory->used);
    memory->reserved = mig < 0 ? g->memory_reserved : 0;
    if (memory->used > memory->total - memory->reserved) memory->used = memory->total - memory->reserved;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, ProcessInfo *found) {
    ON_GPU_OR_MIG(PROCESSES)
    unsigned size = *count, n = 0;
    for (int i = 0; i < MAX_PROCESSES && mig < 0; i++) { /* nothing holds an instance's memory by name */
        if (!holds(&g->processes[i])) continue;
        if (found && n < size) found[n] = (ProcessInfo){g->processes[i].pid, g->processes[i].bytes, ~0u, ~0u};
        n++;
    }
    *count = n;
    return n > size ? INSUFFICIENT_SIZE : SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v2(Device device, unsigned *count, ProcessInfo *found) {
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, found);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned *count, ProcessInfo *found) {
    (void)found;
    ON_GPU(PROCESSES)
    *count = 0;
    return SUCCESS;
}
int nvmlDeviceGetGraphicsRunningProcesses_v2(Device device, unsigned *count, ProcessInfo *found) {
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, found);
}

/* ---- power, limits, energy ------------------------------------------------------------------------------------- */

int nvmlDeviceGetPowerUsage(Device device, unsigned *mw) {
    ON_GPU(POWER)
    *mw = sensed_mw(g, g->plain_window_ns);
    return SUCCESS;
}
int nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long *mj) {
    ON_GPU(ENERGY)
    *mj = counter_mj(g);
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementMode(Device device, unsigned *mode) {
    ON_GPU(LIMIT_READ)
    *mode = 1;
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementLimit(Device device, unsigned *mw) {
    ON_GPU(LIMIT_READ)
    *mw = limit_mw(g);
    return SUCCESS;
}
int nvmlDeviceGetEnforcedPowerLimit(Device device, unsigned *mw) { return nvmlDeviceGetPowerManagementLimit(device, mw); }
int nvmlDeviceGetPowerManagementDefaultLimit(Device device, unsigned *mw) {
    ON_GPU(LIMIT_READ)
    *mw = g->limit_default_mw;
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementLimitConstraints(Device device, unsigned *least, unsigned *most) {
    ON_GPU(LIMIT_READ)
    *least = g->limit_min_mw;
    *most = g->limit_max_mw;
    return SUCCESS;
}

/* Every set goes through here, so that the events hold the refused ones too. */
#define SET(class, kind, first, second, invalid, act)                          \
    Gpu *g;                                                                    \
    int mig, result = find(device, &g, &mig);                                  \
    if (result) return result;                                                 \
    if (mig >= 0) result = NOT_SUPPORTED;                                      \
    else if (!(result = fault(g, class))) {                                    \
        if (!the_state->privileged) result = NO_PERMISSION;                    \
        else if (invalid) result = INVALID_ARGUMENT;                           \
        else { act; }                                                          \
    }                                                                          \
    note(the_state, g, kind, first, second, result);                           \
    return result;

int nvmlDeviceSetPowerManagementLimit(Device device, unsigned mw) {
    SET(LIMIT_SET, SET_LIMIT, mw, 0, mw < g->limit_min_mw || mw > g->limit_max_mw, result = set_limit(the_state, g, mw, -1))
}
int nvmlDeviceSetPowerManagementLimit_v2(Device device, PowerValue *value) {
    if (value->version != (sizeof *value | 2u << 24)) return VERSION_MISMATCH;
    return value->scope == 0 ? nvmlDeviceSetPowerManagementLimit(device, value->mw) : NOT_SUPPORTED;
}

static int field(Gpu *g, FieldValue *f) {
    int failed = SUCCESS;
    f->type = 1; /* NVML_VALUE_TYPE_UNSIGNED_INT */
    switch (f->field) {
    case 82: /* MEMORY_TEMP */
        f->value.ui = (unsigned)g->memory_temperature_c;
        return fault(g, TEMPERATURE);
    case 83: /* TOTAL_ENERGY_CONSUMPTION */
        if ((failed = fault(g, ENERGY))) return failed;
        f->type = 3; /* NVML_VALUE_TYPE_UNSIGNED_LONG_LONG */
        f->value.ull = counter_mj(g);
        return SUCCESS;
    case 185: /* POWER_AVERAGE */
    case 186: /* POWER_INSTANT */
        if ((failed = fault(g, POWER))) return failed;
        if (!g->has_power_fields) return NOT_SUPPORTED;
        f->value.ui = sensed_mw(g, f->field == 185 ? g->average_window_ns : g->instant_window_ns);
        return SUCCESS;
    case 187: f->value.ui = g->limit_min_mw; return fault(g, LIMIT_READ);
    case 188: f->value.ui = g->limit_max_mw; return fault(g, LIMIT_READ);
    case 189: f->value.ui = g->limit_default_mw; return fault(g, LIMIT_READ);
    case 190: /* POWER_CURRENT_LIMIT */
    case 192: /* POWER_REQUESTED_LIMIT */
        f->value.ui = limit_mw(g);
        return fault(g, LIMIT_READ);
    default: return NOT_SUPPORTED;
    }
}
int nvmlDeviceGetFieldValues(Device device, int count, FieldValue *values) {
    ON_GPU(DEVICE)
    for (int i = 0; i < count; i++) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        int64_t now = now_ns(), age_ns = now - last_update(g, now, g->update_period_ns);
        values[i].timestamp_us = t.tv_sec * 1000000LL + (t.tv_nsec - age_ns) / 1000;
        values[i].latency_us = 0;
        values[i].value.ull = 0;
        values[i].result = field(g, &values[i]);
    }
    return SUCCESS;
}

/* ---- clocks and what holds them back --------------------------------------------------------------------------- */

static unsigned sm_mhz(Gpu *g) {
    uint64_t locked = g->sm_lock;
    double mhz = g->sm_mhz;
    if (locked) mhz = fmin(fmax(mhz, (double)(locked >> 32)), (double)(locked & 0xffffffffu));
    int64_t at = now_ns();
    const Segment *s = segment_at(g, at);
    if (s->sm_mhz && !rests(s, at)) return s->sm_mhz;
    double wanted = wanted_w(s, at), cap = cap_w(s);
    if (wanted > cap && wanted > 0) mhz *= cbrt(cap / wanted); /* dynamic power grows with the cube of the clock */
    double step = g->sm_step_mhz;
    return (unsigned)fmin(fmax(floor(mhz / step) * step, g->sm_min_mhz), g->sm_max_mhz);
}
static unsigned memory_mhz(Gpu *g) {
    unsigned most = (unsigned)(g->memory_lock & 0xffffffffu);
    return most && most < g->memory_max_mhz ? most : g->memory_max_mhz;
}
int nvmlDeviceGetClockInfo(Device device, unsigned type, unsigned *mhz) {
    ON_GPU(CLOCK_READ)
    if (type > 3) return INVALID_ARGUMENT;
    *mhz = type == 2 ? memory_mhz(g) : sm_mhz(g);
    return SUCCESS;
}
int nvmlDeviceGetClock(Device device, unsigned type, unsigned id, unsigned *mhz) {
    return id == 0 ? nvmlDeviceGetClockInfo(device, type, mhz) : NOT_SUPPORTED;
}
int nvmlDeviceGetMaxClockInfo(Device device, unsigned type, unsigned *mhz) {
    ON_GPU(CLOCK_READ)
    if (type > 3) return INVALID_ARGUMENT;
    *mhz = type == 2 ? g->memory_max_mhz : g->sm_max_mhz;
    return SUCCESS;
}
int nvmlDeviceGetMinMaxClockOfPState(Device device, unsigned type, unsigned pstate, unsigned *least, unsigned *most) {
    ON_GPU(CLOCK_READ)
    if (type > 3 || pstate > 15) return INVALID_ARGUMENT;
    if (pstate != 0) return NOT_SUPPORTED;
    *least = type == 2 ? g->memory_max_mhz : g->sm_min_mhz;
    *most = type == 2 ? g->memory_max_mhz : g->sm_max_mhz;
    return SUCCESS;
}
int nvmlDeviceGetSupportedMemoryClocks(Device device, unsigned *count, unsigned *mhz) {
    ON_GPU(CLOCK_READ)
    if (!mhz || *count < 1) return *count = 1, INSUFFICIENT_SIZE;
    *count = 1;
    mhz[0] = g->memory_max_mhz;
    return SUCCESS;
}
int nvmlDeviceGetSupportedGraphicsClocks(Device device, unsigned memory, unsigned *count, unsigned *mhz) {
    ON_GPU(CLOCK_READ)
    unsigned n = (g->sm_max_mhz - g->sm_min_mhz) / g->sm_step_mhz + 1;
    if (memory != g->memory_max_mhz) return NOT_FOUND;
    if (!mhz || *count < n) return *count = n, INSUFFICIENT_SIZE;
    *count = n;
    for (unsigned i = 0; i < n; i++) mhz[i] = g->sm_max_mhz - i * g->sm_step_mhz;
    return SUCCESS;
}
int nvmlDeviceSetGpuLockedClocks(Device device, unsigned least, unsigned most) {
    SET(CLOCK_SET, LOCK_SM, least, most, least > most || most < g->sm_min_mhz || least > g->sm_max_mhz, g->sm_lock = (uint64_t)least << 32 | most)
}
int nvmlDeviceResetGpuLockedClocks(Device device) { SET(CLOCK_SET, UNLOCK_SM, 0, 0, 0, g->sm_lock = 0) }
int nvmlDeviceSetMemoryLockedClocks(Device device, unsigned least, unsigned most) {
    SET(CLOCK_SET, LOCK_MEMORY, least, most, least > most || least > g->memory_max_mhz, g->memory_lock = (uint64_t)least << 32 | most)
}
int nvmlDeviceResetMemoryLockedClocks(Device device) { SET(CLOCK_SET, UNLOCK_MEMORY, 0, 0, 0, g->memory_lock = 0) }
int nvmlDeviceGetCurrentClocksEventReasons(Device device, unsigned long long *reasons) {
    ON_GPU(REASONS)
    *reasons = event_reasons(g);
    return SUCCESS;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long *reasons) {
    return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}
int nvmlDeviceGetSupportedClocksEventReasons(Device device, unsigned long long *reasons) {
    ON_GPU(REASONS)
    *reasons = 0x1ff;
    return SUCCESS;
}
int nvmlDeviceGetSupportedClocksThrottleReasons(Device device, unsigned long long *reasons) {
    return nvmlDeviceGetSupportedClocksEventReasons(device, reasons);
}

/* ---- temperature, load, modes ---------------------------------------------------------------------------------- */

int nvmlDeviceGetTemperature(Device device, unsigned sensor, unsigned *celsius) {
    ON_GPU(TEMPERATURE)
    if (sensor != 0) return INVALID_ARGUMENT;
    *celsius = (unsigned)temperature_c(g);
    return SUCCESS;
}
int nvmlDeviceGetTemperatureV(Device device, Temperature *temperature) {
    ON_GPU(TEMPERATURE)
    if (temperature->version != (sizeof *temperature | 1u << 24)) return VERSION_MISMATCH;
    if (temperature->sensor != 0) return INVALID_ARGUMENT;
    temperature->celsius = temperature_c(g);
    return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(Device device, Utilization *rates) {
    ON_GPU(UTILIZATION)
    if (g->mig_enabled) return NOT_SUPPORTED;
    *rates = (Utilization){utilization(g), (unsigned)g->utilization_memory};
    return SUCCESS;
}
int nvmlDeviceGetPerformanceState(Device device, unsigned *pstate) {
    ON_GPU(MODE)
    *pstate = (unsigned)g->pstate;
    return SUCCESS;
}
int nvmlDeviceGetPersistenceMode(Device device, unsigned *mode) {
    ON_GPU(MODE)
    *mode = (unsigned)g->persistence;
    return SUCCESS;
}
int nvmlDeviceSetPersistenceMode(Device device, unsigned mode) {
    SET(MODE, SET_PERSISTENCE, mode, 0, mode > 1, g->persistence = (int)mode)
}

/* What this GPU does not have: refused, and noted all the same. Arguments after the first are not looked at. */
#define SET_REFUSED(name, kind) \
    int name(Device device) { SET(MODE, kind, 0, 0, 0, result = NOT_SUPPORTED) }
SET_REFUSED(nvmlDeviceSetMigMode, SET_MIG)
SET_REFUSED(nvmlDeviceCreateGpuInstance, SET_MIG)
SET_REFUSED(nvmlDeviceSetComputeMode, SET_OTHER)
SET_REFUSED(nvmlDeviceSetEccMode, SET_OTHER)
SET_REFUSED(nvmlDeviceSetGpuOperationMode, SET_OTHER)
SET_REFUSED(nvmlDeviceSetApplicationsClocks, SET_OTHER)
SET_REFUSED(nvmlDeviceResetApplicationsClocks, SET_OTHER)
SET_REFUSED(nvmlDeviceSetAutoBoostedClocksEnabled, SET_OTHER)
SET_REFUSED(nvmlDeviceSetDefaultAutoBoostedClocksEnabled, SET_OTHER)
SET_REFUSED(nvmlDeviceSetClockOffsets, SET_OTHER)
SET_REFUSED(nvmlDeviceSetGpcClkVfOffset, SET_OTHER)
SET_REFUSED(nvmlDeviceSetMemClkVfOffset, SET_OTHER)
SET_REFUSED(nvmlDeviceSetAPIRestriction, SET_OTHER)
SET_REFUSED(nvmlDeviceSetAccountingMode, SET_OTHER)
SET_REFUSED(nvmlDeviceSetTemperatureThreshold, SET_OTHER)
SET_REFUSED(nvmlDeviceSetFanSpeed_v2, SET_OTHER)
SET_REFUSED(nvmlDeviceSetPowerMizerMode_v1, SET_OTHER)
SET_REFUSED(nvmlDeviceWorkloadPowerProfileSetRequestedProfiles, SET_OTHER)
SET_REFUSED(nvmlDeviceWorkloadPowerProfileClearRequestedProfiles, SET_OTHER)
SET_REFUSED(nvmlDevicePowerSmoothingSetState, SET_OTHER)
int nvmlDeviceGetEccMode(Device device, unsigned *current, unsigned *pending) {
    ON_GPU(MODE)
    *current = *pending = (unsigned)g->ecc;
    return SUCCESS;
}

/* ---- MIG ------------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending) {
    ON_GPU(MIG)
    *current = *pending = (unsigned)g->mig_enabled;
    return SUCCESS;
}
int nvmlDeviceIsMigDeviceHandle(Device device, unsigned *is_mig) {
    ON_GPU_OR_MIG(MIG)
    *is_mig = mig >= 0;
    return SUCCESS;
}
int nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned *count) {
    ON_GPU(MIG)
    *count = g->mig_enabled ? MAX_MIG : 0;
    return SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned index, Device *found) {
    ON_GPU(MIG)
    if (index >= MAX_MIG) return INVALID_ARGUMENT;
    if (!g->mig_enabled || !g->migs[index].uuid[0]) return NOT_FOUND;
    *found = handle((unsigned)(g - the_state->gpus), (int)index);
    return SUCCESS;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device device, Device *parent) {
    ON_GPU_OR_MIG(MIG)
    if (mig < 0) return INVALID_ARGUMENT;
    *parent = handle((unsigned)(g - the_state->gpus), -1);
    return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(Device device, unsigned *id) {
    ON_GPU_OR_MIG(MIG)
    if (mig < 0) return NOT_SUPPORTED;
    *id = g->migs[mig].gpu_instance;
    return SUCCESS;
}
int nvmlDeviceGetComputeInstanceId(Device device, unsigned *id) {
    ON_GPU_OR_MIG(MIG)
    if (mig < 0) return NOT_SUPPORTED;
    *id = g->migs[mig].compute_instance;
    return SUCCESS;
}
int nvmlDeviceGetAttributes_v2(Device device, Attributes *attributes) {
    ON_GPU_OR_MIG(MIG)
    if (mig < 0) return NOT_SUPPORTED;
    *attributes = (Attributes){.multiprocessors = 16, .gpu_slices = 1, .compute_slices = 1, .memory_mb = g->migs[mig].memory_total >> 20};
    return SUCCESS;
}
