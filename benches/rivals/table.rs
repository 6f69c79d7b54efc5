//! Samples side by side, as medians, minima and ratios.

use std::time::Duration;

/// The measurements of one contestant.
pub struct Samples {
    /// Whose they are.
    pub name: &'static str,
    times: Vec<Duration>,
}

impl Samples {
    /// None yet.
    pub fn new(name: &'static str) -> Samples {
        Samples { name, times: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// The one in the middle.
    pub fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// The least disturbed one.
    pub fn minimum(&self) -> Duration {
        self.times.iter().min().copied().unwrap_or_default()
    }

    /// The median of the ratios of measurements of the same round: what disturbs a round disturbs
    /// both sides.
    pub fn ratio(&self, base: &Samples) -> f64 {
        let pairs = self.times.iter().zip(&base.times);
        let ratios = pairs.map(|(own, base)| own.as_secs_f64() / base.as_secs_f64());
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Prints all of `samples`, with ratios to the one named `base`.
pub fn print(title: &str, samples: &[Samples], base: &str) {
    let Some(base) = samples.iter().find(|samples| samples.name == base) else { return };
    println!("\n{title}");
    println!(
        "{:<16} {:>6} {:>11} {:>11} {:>10} {:>10} {:>10}",
        "", "rounds", "median", "minimum", "x median", "x minimum", "x by round"
    );
    for own in samples {
        let ratio = |own: Duration, base: Duration| own.as_secs_f64() / base.as_secs_f64();
        println!(
            "{:<16} {:>6} {:>8.3} ms {:>8.3} ms {:>10.2} {:>10.2} {:>10.2}",
            own.name,
            own.count(),
            own.median().as_secs_f64() * 1000.0,
            own.minimum().as_secs_f64() * 1000.0,
            ratio(own.median(), base.median()),
            ratio(own.minimum(), base.minimum()),
            own.ratio(base)
        );
    }
}

/// Measurements, each with one of its neighbour.
pub struct Pair {
    own: Samples,
    base: Samples,
}

impl Pair {
    /// None yet.
    pub fn new(name: &'static str) -> Pair {
        Pair { own: Samples::new(name), base: Samples::new(name) }
    }

    /// Adds one, and what was measured beside it.
    pub fn push(&mut self, own: Duration, base: Duration) {
        self.own.push(own);
        self.base.push(base);
    }

    /// Whose they are.
    pub fn name(&self) -> &'static str {
        self.own.name
    }

    /// The median of the ratios of neighbours.
    pub fn ratio(&self) -> f64 {
        self.own.ratio(&self.base)
    }
}

/// Prints all pairs, with ratios to what is called `base`.
pub fn print_pairs(title: &str, base: &str, pairs: &[Pair]) {
    println!("\n{title}");
    println!("{:<16} {:>6} {:>11} {:>11} {:>10}", "", "rounds", "median", base, "x by round");
    for pair in pairs {
        println!(
            "{:<16} {:>6} {:>8.3} ms {:>8.3} ms {:>10.2}",
            pair.name(),
            pair.own.count(),
            pair.own.median().as_secs_f64() * 1000.0,
            pair.base.median().as_secs_f64() * 1000.0,
            pair.ratio()
        );
    }
}
