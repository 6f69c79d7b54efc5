//! Where this process stands, as `talk::place` says it; `None` where the launcher has to look closer.

use super::syscalls::{self, Statx, stat};
use super::text::NameHash;
use crate::Names;
use core::mem::MaybeUninit;

/// As many supplementary groups are told.
const GROUPS_MAX: usize = 64;

/// Where a process stands.
#[derive(Clone, Copy)]
pub struct Place {
    /// Device and inode of the root folder.
    pub root: (u64, u64),
    /// Its mount; before Linux 5.8 the mount namespace.
    pub mount: u64,
    /// The effective group.
    pub group: u32,
    /// Network namespace, privileges, groups and hard limits.
    pub surroundings: u64,
}

impl Place {
    /// Where this process stands. `socket` is any socket of its own.
    pub fn find(socket: usize, names: &Names) -> Option<Place> {
        let mut found = MaybeUninit::<Statx>::uninit();
        let root = stat(b"/\0", &mut found)?;
        let mount = match root.has_mount() {
            true => root.mount,
            false => inode(b"/proc/self/ns/mnt\0"),
        };
        let group = syscalls::group();
        let surroundings = surroundings(socket, group, names)?;
        let root_id = (root.device(), root.inode);
        Some(Place { root: root_id, mount, group, surroundings })
    }

    /// The number in the name of the socket; the first seat.
    pub fn number(&self) -> u32 {
        let mut hash = NameHash::new();
        hash.add_u64(self.root.0);
        hash.add_u64(self.root.1);
        hash.add_u64(self.mount);
        hash.add_u32(self.group);
        hash.add_u64(self.surroundings);
        hash.add_u32(0);
        let hash = hash.finish();
        (hash >> 32) as u32 ^ hash as u32
    }
}

/// What older kernels tell namespaces apart by; 0 where there is no /proc. `path` ends with a NUL.
fn inode(path: &[u8]) -> u64 {
    let mut found = MaybeUninit::<Statx>::uninit();
    stat(path, &mut found).map_or(0, |found| found.inode)
}

fn surroundings(socket: usize, own_group: u32, names: &Names) -> Option<u64> {
    let mut hash = NameHash::new();
    let network = syscalls::network_namespace(socket);
    hash.add_u64(network.unwrap_or_else(|| inode(b"/proc/self/ns/net\0")));
    hash.add(&[syscalls::no_new_privileges(), syscalls::seccomp_mode()]);
    let mut groups = MaybeUninit::<[u32; GROUPS_MAX]>::uninit();
    for group in syscalls::groups(&mut groups)? {
        if *group != own_group {
            hash.add_u32(*group);
        }
    }
    for (resource, least, enough) in names.limits {
        let hard = syscalls::hard_limit(*resource);
        let counts = (*least..*enough).contains(&hard);
        hash.add_u64(if counts { hard } else { u64::MAX });
    }
    Some(hash.finish())
}
