//! What a file system's time stamps tell about its files.

/// A kind of file system, by what its stamps prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum System {
    /// This kernel alone writes to it, by its own clock, and each change of a file shows in its stamp.
    Settling,
    /// The same, but it never writes back: stores through a mapping leave no trace (tmpfs, ramfs).
    Memory,
    /// This kernel alone writes to it, by its own clock; what else it does is not known.
    Plain,
    /// A server stamps the files by its clock, for all its clients.
    Server,
    /// Nothing is known of it.
    Unknown,
}

impl System {
    /// The kind that belongs to a magic number of statfs(2) (linux/magic.h).
    pub fn of_magic(magic: u32) -> System {
        let listed = SYSTEMS.iter().find(|(known, _)| *known == magic);
        listed.map_or(System::Unknown, |(_, system)| *system)
    }

    /// Whether this machine's clock stamps its files.
    pub fn has_machine_clock(self) -> bool {
        matches!(self, System::Settling | System::Memory | System::Plain)
    }

    /// Whether a folder whose stamp is old and the same has the same names in it.
    pub fn folders_settle(self) -> bool {
        matches!(self, System::Settling | System::Memory)
    }
}

const SYSTEMS: [(u32, System); 29] = [
    (0xef53, System::Settling),      // ext2, ext3, ext4
    (0x5846_5342, System::Settling), // xfs
    (0x9123_683e, System::Settling), // btrfs
    (0x794c_7630, System::Settling), // overlayfs
    (0xf2f5_2010, System::Settling), // f2fs
    (0x2fc1_2fc1, System::Settling), // zfs
    (0xca45_1a4e, System::Settling), // bcachefs
    (0x7371_7368, System::Settling), // squashfs
    (0xe0f5_e1e2, System::Settling), // erofs
    (0x9660, System::Settling),      // iso9660
    (0x0102_1994, System::Memory),   // tmpfs
    (0x8584_58f6, System::Memory),   // ramfs
    (0x3153_464a, System::Plain),    // jfs
    (0x5265_4973, System::Plain),    // reiserfs
    (0x3434, System::Plain),         // nilfs2
    (0x5346_544e, System::Plain),    // ntfs
    (0x7366_746e, System::Plain),    // ntfs3
    (0x2011_bab0, System::Plain),    // exfat
    (0x4d44, System::Plain),         // vfat
    (0x1501_3346, System::Plain),    // udf
    (0xf15f, System::Plain),         // ecryptfs
    (0x6175_6673, System::Plain),    // aufs
    (0x28cd_3d45, System::Plain),    // cramfs
    (0x6969, System::Server),        // nfs
    (0x517b, System::Server),        // smbfs
    (0xff53_4d42, System::Server),   // cifs
    (0xfe53_4d42, System::Server),   // smb2 and later
    (0x0102_1997, System::Server),   // 9p
    (0x6573_5546, System::Server),   // fuse, virtiofs
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_magic_number_is_listed_once() {
        for (place, (magic, system)) in SYSTEMS.iter().enumerate() {
            assert_eq!(System::of_magic(*magic), *system, "{magic:x}");
            assert!(SYSTEMS[..place].iter().all(|(other, _)| other != magic), "{magic:x}");
        }
        assert_eq!(System::of_magic(1), System::Unknown);
    }
}
