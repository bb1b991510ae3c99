//! Local directories.
