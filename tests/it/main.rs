//! Whole-program tests: the real binary against the real compilers. `tests/run` sets up what they need.

mod support;

mod ahead;
mod cluster;
mod cluster_cli;
mod colours;
mod commands;
mod config;
mod crash;
mod demo;
mod direct_mode;
mod early;
mod fallback;
mod faults;
mod generated;
mod hosts;
mod image;
mod launcher;
mod lifecycle;
mod manifests;
mod nodes;
mod options;
mod projects;
mod race;
mod remote;
mod remote_form;
mod remote_options;
mod same_as_compiler;
mod search_folders;
mod store;
mod top;
mod traps;
mod verify;
mod worker;
mod worker_attacks;
mod worker_life;
