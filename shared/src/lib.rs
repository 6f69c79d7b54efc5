//! The cache that a team shares, behind the local store: engines, signatures, batches. It sees no path and no option.
