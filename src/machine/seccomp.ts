/**
 * Which system calls a machine may make: the set that container engines allow a process without
 * capabilities. Everything else answers EPERM, except `clone3`, whose flags a filter cannot read:
 * ENOSYS makes the C library fall back to `clone`, where they can be judged.
 */
export interface SeccompRule {
  readonly names: readonly string[]
  readonly action: 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO'
  readonly errnoRet?: number
  readonly args?: readonly {
    readonly index: number
    readonly value: number
    readonly valueTwo?: number
    readonly op: 'SCMP_CMP_EQ' | 'SCMP_CMP_NE' | 'SCMP_CMP_MASKED_EQ'
  }[]
}

export interface SeccompProfile {
  readonly defaultAction: 'SCMP_ACT_ERRNO'
  readonly defaultErrnoRet: number
  readonly architectures: readonly string[]
  readonly syscalls: readonly SeccompRule[]
}

const words = (text: string): string[] => text.trim().split(/\s+/)

const FILES = words(`
  access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
  fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat
  fstatfs fsync ftruncate futimesat getcwd getdents getdents64 ioctl lchown link linkat lseek lstat
  mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2
  pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir
  sendfile splice stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask
  unlink unlinkat utime utimensat utimes vmsplice write writev cachestat
  fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr
  lsetxattr removexattr setxattr
  inotify_add_watch inotify_init inotify_init1 inotify_rm_watch fanotify_mark
`)

const WAITING = words(`
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
  epoll_wait_old eventfd eventfd2 pipe pipe2 poll ppoll pselect6 select signalfd signalfd4
  timerfd_create timerfd_gettime timerfd_settime
  io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
`)

const MEMORY = words(`
  brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap
  mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
  remap_file_pages
`)

const SOCKETS = words(`
  accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg
  sendmmsg sendmsg sendto setsockopt shutdown socketpair
`)

const PROCESSES = words(`
  arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue futex_wait
  futex_waitv futex_wake get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid
  getpriority getrlimit getrusage getsid gettid ioprio_get ioprio_set kill modify_ldt pause pidfd_open
  pidfd_send_signal prctl prlimit64 process_mrelease process_vm_readv process_vm_writev ptrace
  restart_syscall rseq seccomp set_robust_list set_thread_area set_tid_address setpgid setpriority
  setrlimit setsid sysinfo tgkill times tkill uname vfork wait4 waitid
  landlock_add_rule landlock_create_ruleset landlock_restrict_self
  rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
  rt_sigtimedwait rt_tgsigqueueinfo sigaltstack
  sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
  sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
  sched_setscheduler sched_yield
`)

const IDENTITY = words(`
  getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups
  setregid setresgid setresuid setreuid setuid
`)

const TIME = words(`
  adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer getrandom
  gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun timer_gettime
  timer_settime
`)

const SYSTEM_V = words(`
  mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd
  semctl semget semop semtimedop shmat shmctl shmdt shmget
`)

/** CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: no namespaces of its own. */
const CLONE_NAMESPACES = 0x7e02_0000
/** AF_VSOCK reaches the hypervisor and knows no network namespace. */
const AF_VSOCK = 40
/** PER_LINUX, PER_LINUX32, UNAME26, both, and the query. */
const PERSONALITIES = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff]
const EPERM = 1
const ENOSYS = 38

const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'SCMP_ARCH_X86_64',
  arm64: 'SCMP_ARCH_AARCH64',
}

/**
 * The profile for machines on this processor (`process.arch`). Only its native calls: a 32-bit
 * program would need a second table, and nothing that runs here is one.
 */
export function seccompProfile(arch: string = process.arch): SeccompProfile {
  const architecture = ARCHITECTURES[arch]
  if (!architecture) throw new RangeError(`no seccomp architecture for ${arch}: use x64 or arm64`)
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    architectures: [architecture],
    syscalls: [
      {
        names: [
          ...FILES,
          ...WAITING,
          ...MEMORY,
          ...SOCKETS,
          ...PROCESSES,
          ...IDENTITY,
          ...TIME,
          ...SYSTEM_V,
        ],
        action: 'SCMP_ACT_ALLOW',
      },
      {
        names: ['socket'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: AF_VSOCK, op: 'SCMP_CMP_NE' }],
      },
      ...PERSONALITIES.map(
        (value): SeccompRule => ({
          names: ['personality'],
          action: 'SCMP_ACT_ALLOW',
          args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
        }),
      ),
      {
        names: ['clone'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: CLONE_NAMESPACES, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
      },
      { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
    ],
  }
}
