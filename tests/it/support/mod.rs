//! What every whole-program test needs: a `Project` to compile, a `Cache` to compile it through,
//! and the golden check that both ways give the same.

mod cache;
mod call;
mod container;
mod distccd;
mod fake_host;
mod fault_proxy;
mod fuse;
mod golden;
mod noting;
mod processes;
mod program;
mod project;
mod reapi;
mod run;
mod servers;
mod skip;
mod stats;
mod terminal;
mod tree;
mod worker;

pub use cache::{Cache, MASQUERADE_PATH, SYSTEM_PATH, rcache_binary};
pub use call::Call;
pub use container::{Container, docker, worker_image};
pub use distccd::{DeadPort, Distccd};
pub use fake_host::{Exchange, FakeHost};
pub use fault_proxy::{FaultProxy, Harm};
pub use fuse::Share;
pub use golden::{Trap, check, same_as_compiler};
pub use noting::NotingCompiler;
pub use processes::{
    children_named, is_alive, is_root, kill, process_group_interrupt, terminate, wait_until,
};
pub use program::{copy_program, set_modified, write_program};
pub use project::Project;
pub use reapi::{InputTree, Reapi, Upload};
pub use run::{LIMIT_BUILD, LIMIT_CALL, Outcome, Running, run, start};
pub use servers::Server;
pub use skip::{compilers, have, skip};
pub use stats::Stats;
pub use terminal::pseudo_terminal;
pub use tree::Tree;
pub use worker::Worker;

/// A C and a C++ compiler of one family.
#[derive(Clone, Copy, Debug)]
pub struct Compilers {
    /// The C compiler's name.
    pub c: &'static str,
    /// The C++ compiler's name.
    pub cxx: &'static str,
}

/// A linear congruential generator (Knuth's MMIX constants): enough for choosing moments and bits.
pub struct Random(u64);

impl Random {
    /// A generator whose seed comes from `RCACHE_TEST_SEED`, else from the clock; it is printed.
    pub fn announced(what: &str) -> Random {
        let seed = std::env::var("RCACHE_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| {
                let now = std::time::SystemTime::now();
                now.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
            });
        println!("{what}: RCACHE_TEST_SEED={seed}");
        Random(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}
