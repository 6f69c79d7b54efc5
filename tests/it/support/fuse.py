"""A folder shown in another place, as a server would show it: with a clock of its own, and with errors at the end.

usage: fuse.py FOLDER MOUNT CLOCK_AHEAD_S FULL
While the file FULL exists, what was written is refused when it is closed, as NFS does it where a quota is used up.
"""
import errno
import os
import sys

import mfusepy

FOLDER, MOUNT, AHEAD, FULL = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
AHEAD_NS = int(AHEAD * 10**9)


class Share(mfusepy.Operations):
    use_ns = True

    def at(self, path):
        return FOLDER + path

    def getattr(self, path, fh=None):
        try:
            found = os.lstat(self.at(path))
        except OSError as error:
            raise mfusepy.FuseOSError(error.errno)
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino")
        about = {name: getattr(found, name) for name in names}
        for name in ("st_atime", "st_mtime", "st_ctime"):
            about[name] = getattr(found, name + "_ns") + AHEAD_NS
        return about

    def readdir(self, path, fh):
        return [".", ".."] + os.listdir(self.at(path))

    def open(self, path, flags):
        return os.open(self.at(path), flags)

    def create(self, path, mode, fi=None):
        return os.open(self.at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(self.at(path), length)

    def flush(self, path, fh):
        if os.path.exists(FULL) and os.fstat(fh).st_size > 0:
            os.truncate(self.at(path), 0)
            raise mfusepy.FuseOSError(errno.EDQUOT)

    def release(self, path, fh):
        os.close(fh)

    def unlink(self, path):
        os.unlink(self.at(path))

    def rename(self, old, new):
        os.rename(self.at(old), self.at(new))

    def mkdir(self, path, mode):
        os.mkdir(self.at(path), mode)

    def chmod(self, path, mode):
        os.chmod(self.at(path), mode)

    def chown(self, path, user, group):
        os.chown(self.at(path), user, group)

    def utimens(self, path, times=None):
        os.utime(self.at(path))


mfusepy.FUSE(Share(), MOUNT, foreground=True, nothreads=True, attr_timeout=0, entry_timeout=0,
             use_ino=True, default_permissions=True)
