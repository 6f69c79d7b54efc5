"""Makes a wheel that holds the bare binary: `pip install` puts it into the folder of scripts.

python3 packaging/wheel.py VERSION MACHINE BINARY OUT
"""

import base64
import hashlib
import os
import sys
import time
import zipfile

version, machine, binary, out = sys.argv[1:]
# A static binary runs on every Linux of this machine, with glibc, musl or none.
tags = [f"{kind}_{machine}" for kind in ("manylinux2014", "manylinux_2_17", "musllinux_1_1")]
name = f"rcache-{version}"
info = f"{name}.dist-info"
moment = time.gmtime(max(int(os.environ["SOURCE_DATE_EPOCH"]), 315532800))[:6]


def read(path):
    with open(path, "rb") as file:
        return file.read()


metadata = f"""Metadata-Version: 2.1
Name: rcache
Version: {version}
Summary: A compiler cache for C and C++ with a compile cluster behind it
License: MIT OR Apache-2.0
Requires-Python: >=3.7
Description-Content-Type: text/markdown

""".encode() + read("README.md")
wheel = "Wheel-Version: 1.0\nGenerator: rcache\nRoot-Is-Purelib: false\n"
wheel += "".join(f"Tag: py3-none-{tag}\n" for tag in tags)

files = [
    (f"{name}.data/scripts/rcache", 0o755, read(binary)),
    (f"{info}/METADATA", 0o644, metadata),
    (f"{info}/WHEEL", 0o644, wheel.encode()),
    (f"{info}/licenses/LICENSE-APACHE", 0o644, read("LICENSE-APACHE")),
    (f"{info}/licenses/LICENSE-MIT", 0o644, read("LICENSE-MIT")),
]


def row(path, content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}\n"


record = "".join(row(path, content) for path, _, content in files) + f"{info}/RECORD,,\n"
files.append((f"{info}/RECORD", 0o644, record.encode()))

target = os.path.join(out, f"{name}-py3-none-{'.'.join(tags)}.whl")
with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for path, mode, content in files:
        entry = zipfile.ZipInfo(path, moment)
        entry.external_attr = (0o100000 | mode) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, content)
