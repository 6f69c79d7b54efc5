//! seccomp(2): system calls that no compiler needs are refused, above all those that reach other
//! processes, the network and the kernel's darker corners.

use std::io;

// linux/audit.h
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;

// struct seccomp_data: number, architecture, instruction pointer, six arguments of eight bytes.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
/// Of an argument, the half with the flags (little endian).
const fn argument_at(argument: u32) -> u32 {
    16 + 8 * argument
}

/// Numbers from here on belong to the x32 interface of x86-64.
const X32_BIT: u32 = 0x4000_0000;

/// Namespaces in the flags of clone.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Refused with EPERM, everywhere.
const REFUSED: &[libc::c_long] = &[
    // the network
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // other processes; a group or session of its own would escape being killed
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // mounts, roots, namespaces
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // what landlock does not watch: owners, permissions, times, attributes by name
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    // what outlives the job
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // the kernel
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
];

/// Refused with EPERM on this architecture.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_fchmodat2,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
];
/// Refused with EPERM on this architecture, which never had the older forms of these calls.
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[libc::c_long] = &[FCHMODAT2, libc::SYS_kexec_file_load];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// The same number everywhere (include/uapi/asm-generic/unistd.h).
#[cfg(target_arch = "aarch64")]
const FCHMODAT2: libc::c_long = 452;

/// A filter, ready for use.
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// The filter for compilers, which refuses `more`, too; a text says why there is none.
    pub fn new(more: &[libc::c_long]) -> Result<Filter, String> {
        if ARCHITECTURE == 0 {
            return Err("not on this architecture".to_owned());
        }
        let action: u32 = libc::SECCOMP_RET_ERRNO;
        // SAFETY: the kernel reads one number.
        let available = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
        };
        match available {
            0 => Ok(Filter(program(more))),
            _ => Err(io::Error::last_os_error().to_string()),
        }
    }

    /// Puts this thread and all that it starts under the filter. Async-signal-safe.
    pub fn apply(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: self.0.len() as libc::c_ushort,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel copies the program, which lives as long as `self`.
        let applied = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::c_ulong::from(libc::SECCOMP_MODE_FILTER),
                &raw const program,
            )
        };
        if applied < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn program(more: &[libc::c_long]) -> Vec<libc::sock_filter> {
    let errno = |number: i32| ret(libc::SECCOMP_RET_ERRNO | number as u32);
    let mut program = vec![
        load(ARCHITECTURE_AT),
        jump_if_equal(ARCHITECTURE, 1, 0),
        errno(libc::ENOSYS),
        load(NUMBER_AT),
    ];
    if cfg!(target_arch = "x86_64") {
        program.extend([jump_if_at_least(X32_BIT, 0, 1), errno(libc::ENOSYS)]);
    }
    // Its flags are in memory, where no filter can look; glibc then takes clone.
    program.extend([jump_if_equal(libc::SYS_clone3 as u32, 0, 1), errno(libc::ENOSYS)]);
    program.extend([
        jump_if_equal(libc::SYS_clone as u32, 0, 4),
        load(argument_at(0)),
        jump_if_any(NEW_NAMESPACES, 0, 1),
        errno(libc::EPERM),
        ret(libc::SECCOMP_RET_ALLOW),
    ]);
    // Limits of its own only.
    program.extend([
        jump_if_equal(libc::SYS_prlimit64 as u32, 0, 4),
        load(argument_at(0)),
        jump_if_equal(0, 1, 0),
        errno(libc::EPERM),
        ret(libc::SECCOMP_RET_ALLOW),
    ]);
    for number in REFUSED.iter().chain(REFUSED_HERE).chain(more) {
        program.extend([jump_if_equal(*number as u32, 0, 1), errno(libc::EPERM)]);
    }
    program.push(ret(libc::SECCOMP_RET_ALLOW));
    program
}

fn load(at: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
}

fn ret(action: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Skips `yes` or `no` instructions.
fn jump(test: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    let code = (libc::BPF_JMP | test | libc::BPF_K) as u16;
    libc::sock_filter { code, jt: yes, jf: no, k }
}

fn jump_if_equal(k: u32, yes: u8, no: u8) -> libc::sock_filter {
    jump(libc::BPF_JEQ, k, yes, no)
}

fn jump_if_at_least(k: u32, yes: u8, no: u8) -> libc::sock_filter {
    jump(libc::BPF_JGE, k, yes, no)
}

fn jump_if_any(bits: u32, yes: u8, no: u8) -> libc::sock_filter {
    jump(libc::BPF_JSET, bits, yes, no)
}
