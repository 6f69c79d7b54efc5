//! Whole-program tests: the real binary against the real compilers. `tests/run` sets up what they need.

mod support;

mod cluster_cli;
mod colours;
mod commands;
mod config;
mod crash;
mod demo;
mod direct_mode;
mod fallback;
mod generated;
mod hosts;
mod image;
mod launcher;
mod lifecycle;
mod manifests;
mod projects;
mod remote;
mod remote_options;
mod same_as_compiler;
mod store;
mod top;
mod worker;
mod worker_attacks;
mod worker_life;
