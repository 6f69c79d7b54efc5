//! Random operations against a model that keeps the same entries in memory.

use std::collections::BTreeMap;

use super::*;

const KEYS: u64 = 60;
const OPERATIONS: usize = 400;
/// The last: a crash after an entry was replaced by a longer one.
const FIXED_SEEDS: [u64; 6] = [1, 2, 3, 4, 5, 1_795_491_572_430_420_436];

/// xorshift64*: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

/// What must be in the store: for each key its content and when it was last used.
struct Model {
    scene: Scene,
    random: Random,
    entries: BTreeMap<u64, (u64, u64)>,
    counted: u64,
    clock: u64,
    /// A crash forgets uses, so that the order is not known any more.
    order_known: bool,
}

impl Model {
    fn new(seed: u64) -> Model {
        Model {
            scene: Scene::new(),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            entries: BTreeMap::new(),
            counted: 0,
            clock: 0,
            order_known: true,
        }
    }

    fn step(&mut self) {
        self.clock += 1;
        let number = self.random.below(KEYS);
        match self.random.below(100) {
            0..35 => self.save(number),
            35..65 => self.load(number),
            65..72 => self.damage(number),
            72..80 => self.scene.flush(at(self.clock)),
            80..85 => self.evict(),
            85..88 => {
                self.scene.reopen();
            }
            88..91 => self.kill(),
            91..95 => {
                self.scene.sweep();
            }
            95..97 => self.remove_index(),
            97..99 => {
                self.scene.add_counters(&[("count", 1)]);
                self.counted += 1;
            }
            _ => {
                self.scene.clear().unwrap();
                self.entries.clear();
                self.order_known = true;
            }
        }
    }

    fn save(&mut self, number: u64) {
        let content = self.random.below(1_000);
        Store::save(&self.scene, key(number), &entry(content), RESULT).unwrap();
        self.entries.insert(number, (content, self.clock));
    }

    fn load(&mut self, number: u64) {
        let expected = self.entries.get_mut(&number).map(|(content, used)| {
            *used = self.clock;
            entry(*content)
        });
        assert_eq!(self.scene.contains(key(number)), expected.is_some());
        assert_eq!(self.scene.load(key(number)), expected);
    }

    fn damage(&mut self, number: u64) {
        if self.entries.remove(&number).is_none() {
            return;
        }
        let path = self.scene.blob(number);
        let mut bytes = fs::read(&path).unwrap();
        match self.random.below(3) {
            0 => return fs::remove_file(path).unwrap(),
            1 => bytes.truncate(self.random.below(bytes.len() as u64) as usize),
            _ => {
                let bit = self.random.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        fs::write(path, bytes).unwrap();
        assert_eq!(self.scene.load(key(number)), None);
    }

    fn evict(&mut self) {
        let limit = self.random.below(KEYS).max(1);
        let limits = Limits { max_files: limit, max_size_bytes: 0 };
        self.settle();
        let before = self.entries.len() as u64;
        let evicted = self.scene.evict(limits, at(self.clock)).unwrap().entries;
        let left = if before > limit { (limit * 90).div_ceil(100) } else { before };
        assert_eq!(evicted, before - left);
        let mut order: Vec<(u64, u64)> =
            self.entries.iter().map(|(number, (_, used))| (*used, *number)).collect();
        order.sort_unstable();
        for (rank, (_, number)) in (0..).zip(order) {
            let is_present = self.scene.contains(key(number));
            if self.order_known {
                assert_eq!(is_present, rank >= evicted, "rank {rank}");
            }
            if !is_present {
                self.entries.remove(&number);
            }
        }
        assert_eq!(self.entries.len() as u64, left);
    }

    fn kill(&mut self) {
        self.scene.add_counters(&[("count", 0)]);
        self.scene.flush(at(self.clock));
        for _ in 0..self.random.below(4) {
            let number = self.random.below(KEYS);
            self.save(number);
            self.order_known = false;
        }
        self.scene.kill();
    }

    /// Counters since the last flush are lost with the index, like everything that only it knows.
    fn remove_index(&mut self) {
        fs::remove_file(self.scene.path("index.sqlite")).unwrap();
        // Without anything to write, a flush leaves what was removed alone.
        self.scene.add_counters(&[("count", 0)]);
        self.scene.flush(at(self.clock));
        let counters = self.scene.counters();
        self.counted = counters.iter().map(|(_, value)| value).sum();
        self.order_known = false;
    }

    /// Brings index and blobs together.
    fn settle(&mut self) {
        self.scene.flush(at(self.clock));
        self.scene.walk_wanted.store(true, Ordering::Relaxed);
        sweep_all(&self.scene);
        assert_eq!(self.scene.totals().files, self.entries.len() as u64);
        self.scene.assert_lengths_match();
    }
}

impl Scene {
    /// As `assert_totals_match_files`, without using the entries.
    fn assert_lengths_match(&self) {
        let mut bytes = 0;
        self.for_each_key(|key| bytes += self.blobs.room(key).unwrap());
        assert_eq!(self.totals().bytes, bytes);
    }
}

fn run(seed: u64) {
    // Shown when the test fails.
    println!("seed {seed}");
    let mut model = Model::new(seed);
    for _ in 0..OPERATIONS {
        model.step();
    }
    model.settle();
    for number in 0..KEYS {
        model.load(number);
    }
    let counted: u64 = model.scene.counters().iter().map(|(_, value)| value).sum();
    assert_eq!(counted, model.counted);
}

#[test]
fn the_store_does_as_its_model_with_fixed_seeds() {
    FIXED_SEEDS.into_iter().for_each(run);
}

#[test]
fn the_store_does_as_its_model_with_a_new_seed() {
    run(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
}
