//! Races: contenders take turns (A B C A B C ...), so that a slow moment of the machine hits all of
//! them, and a table gives the median of each, its spread, and its ratio to the first.

use std::env;
use std::fmt;
use std::hint::black_box;
use std::iter;
use std::time::Instant;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Pages of a list.
    pub(crate) nr_pages: usize,
    /// Turns of each contender.
    pub(crate) rounds: usize,
    /// True if times matter; else everything only has to run.
    pub(crate) is_bench: bool,
}

impl Settings {
    /// A bench where cargo says so with `--bench`, else a smoke test: one round of a small list.
    ///
    /// `PHYR_BENCH_N` and `PHYR_BENCH_ROUNDS` override either.
    pub(crate) fn read() -> Self {
        let is_bench = env::args().any(|argument| argument == "--bench");
        let (nr_pages, rounds) = if is_bench { (1 << 20, 11) } else { (1 << 12, 1) };
        Self {
            nr_pages: number("PHYR_BENCH_N", nr_pages),
            rounds: number("PHYR_BENCH_ROUNDS", rounds),
            is_bench,
        }
    }
}

/// A number from the environment.
fn number(name: &str, default: usize) -> usize {
    let Ok(text) = env::var(name) else { return default };
    match text.parse() {
        Ok(number) if number > 0 => number,
        _ => panic!("{name}={text} is not a positive number"),
    }
}

/// Times of one contender, in nanoseconds an operation.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    name: &'static str,
    median: f64,
    low: f64,
    high: f64,
}

impl Timing {
    /// The contender's name, and the median of all turns.
    pub(crate) fn median(&self) -> (&'static str, f64) {
        (self.name, self.median)
    }

    /// The lowest of all turns.
    pub(crate) fn lowest(&self) -> f64 {
        self.low
    }
}

/// One way to do the work.
struct Contender<'a> {
    name: &'static str,
    /// Runs once and gives the nanoseconds an operation.
    turn: Box<dyn FnMut() -> f64 + 'a>,
    times: Vec<f64>,
}

/// Several ways to do the same work; the first is what the others are compared with.
#[derive(Default)]
pub(crate) struct Race<'a>(Vec<Contender<'a>>);

impl<'a> Race<'a> {
    /// Adds a contender whose turn does `count` operations.
    ///
    /// The result of `work` is dropped after the clock stops.
    pub(crate) fn add<T>(
        &mut self,
        name: &'static str,
        count: usize,
        mut work: impl FnMut() -> T + 'a,
    ) -> &mut Self {
        #[expect(clippy::cast_precision_loss, reason = "a few digits of a time are wanted")]
        let turn = move || {
            let start = Instant::now();
            let result = black_box(work());
            let nanoseconds = start.elapsed().as_nanos() as f64;
            drop(result);
            nanoseconds / count.max(1) as f64
        };
        self.0.push(Contender { name, turn: Box::new(turn), times: Vec::new() });
        self
    }

    /// Lets the contenders take turns. A turn that does not count comes first.
    pub(crate) fn run(&mut self, settings: Settings) -> Vec<Timing> {
        for round in 0..=settings.rounds {
            for contender in &mut self.0 {
                let time = (contender.turn)();
                if round > 0 || !settings.is_bench {
                    contender.times.push(time);
                }
            }
        }
        self.0.iter_mut().map(Contender::timing).collect()
    }
}

impl Contender<'_> {
    fn timing(&mut self) -> Timing {
        self.times.sort_by(f64::total_cmp);
        let times = &self.times;
        Timing {
            name: self.name,
            median: times[times.len() / 2],
            low: times[0],
            high: times[times.len() - 1],
        }
    }
}

/// A table of Markdown, built column by column.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    /// Name of a row, and its cells.
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    /// An empty table. The title says what the figures are, and their unit.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), columns: Vec::new(), rows: Vec::new() }
    }

    /// Adds a column of times: median, lowest and highest, and the ratio to the first.
    pub(crate) fn times(&mut self, column: &str, timings: &[Timing]) {
        let first = timings.first().map_or(1.0, |timing| timing.median);
        self.column(
            column,
            timings.iter().enumerate().map(|(index, timing)| {
                let Timing { name, median, low, high } = timing;
                let [median_, low, high] = [median, low, high].map(|time| digits(*time));
                let ratio = if index == 0 {
                    String::new()
                } else {
                    format!(" {}x", digits(median / first))
                };
                ((*name).to_owned(), format!("{median_} ({low}..{high}){ratio}"))
            }),
        );
    }

    /// Adds a column of cells, each with the name of its row; new names make new rows.
    pub(crate) fn column(&mut self, column: &str, cells: impl Iterator<Item = (String, String)>) {
        let filled = self.columns.len();
        self.columns.push(column.to_owned());
        for (name, cell) in cells {
            let index = self.rows.iter().position(|(row, _)| *row == name).unwrap_or_else(|| {
                self.rows.push((name, Vec::new()));
                self.rows.len() - 1
            });
            let row = &mut self.rows[index].1;
            row.resize(filled, "-".to_owned());
            row.push(cell);
        }
    }
}

/// Three digits that mean something.
fn digits(value: f64) -> String {
    let decimals = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |name: &str, cells: &[String]| {
            let cells = cells.iter().map(String::as_str).chain(iter::repeat("-"));
            let cells = cells.take(self.columns.len()).map(|cell| format!(" {cell:<24} |"));
            format!("| {name:<22} |{}", cells.collect::<String>())
        };
        writeln!(f, "### {}\n", self.title)?;
        writeln!(f, "{}", line("", &self.columns))?;
        writeln!(f, "|{}", " --- |".repeat(self.columns.len() + 1))?;
        for (name, cells) in &self.rows {
            writeln!(f, "{}", line(name, cells))?;
        }
        Ok(())
    }
}
