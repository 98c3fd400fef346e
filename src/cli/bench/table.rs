// SPDX-License-Identifier: Apache-2.0
//! `bench table`: the lines of one or several comparisons as the table of BENCHMARKS.md.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::workload::{CPU, Figure, Must, THROUGHPUT, WORKLOADS, Workload};
use super::{BenchError, say};

#[derive(Debug, Args)]
pub(in crate::cli) struct TableArgs {
    /// Lines of `bench compare`
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Put it between the marks of this page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// The names of what is not the original in a line's `contender`.
pub(super) const OURS: &str = "ours";
pub(super) const LIMIT: &str = "limit";

const BEGIN: &str = "<!-- made by ferrocket bench table: begin -->";
const END: &str = "<!-- made by ferrocket bench table: end -->";

pub(super) fn run(args: &TableArgs) -> Result<(), BenchError> {
    let mut lines: Vec<Value> = Vec::new();
    let mut rounds_before = 0;
    for file in &args.files {
        let wrong = |error: String| BenchError::Process { file: file.clone(), error };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let of_file =
            text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().map_err(|error| wrong(error.to_string()))?;
        rounds_before = append_rounds(&mut lines, of_file, rounds_before);
    }
    let names: Vec<String> = args.files.iter().map(|file| file.display().to_string()).collect();
    let table = of(&lines, &names.join(", "));
    say(&table)?;
    args.page.as_deref().map_or(Ok(()), |page| write(page, &table))
}

/// Each file counts its rounds from 0; together they are different rounds. The number of the next one.
fn append_rounds(lines: &mut Vec<Value>, of_file: Vec<Value>, rounds_before: u64) -> u64 {
    let mut next = rounds_before;
    for mut line in of_file {
        if let Some(round) = line["round"].as_u64() {
            line["round"] = (rounds_before + round).into();
            next = next.max(rounds_before + round + 1);
        }
        lines.push(line);
    }
    next
}

/// Between the marks; what stands around them stays.
pub(super) fn write(page: &Path, table: &str) -> Result<(), BenchError> {
    let wrong = |error: String| BenchError::Process { file: page.to_owned(), error };
    let text = std::fs::read_to_string(page).map_err(|error| wrong(error.to_string()))?;
    let (Some((head, _)), Some((_, tail))) = (text.split_once(BEGIN), text.split_once(END)) else {
        return Err(wrong(format!("it has no {BEGIN} and {END}")));
    };
    let file = OpenOptions::new().write(true).truncate(true).open(page);
    file.and_then(|mut file| write!(file, "{head}{BEGIN}\n{table}\n{END}{tail}")).map_err(|error| wrong(error.to_string()))
}

pub(super) fn of(lines: &[Value], source: &str) -> String {
    let machine = lines.iter().find_map(|line| line.get("machine").filter(|_| line.get("contenders").is_some()));
    let mut out = vec![
        format!(
            "{}. Raw lines: `{source}`. Median (least to most); ratios are of runs of the same round.",
            machine.map_or_else(String::new, machine_name)
        ),
        String::new(),
        "| workload | ours | best Java | ratio throughput | ratio CPU | must | limit of the day | fraction |".to_owned(),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let (mut has_void, mut has_generator) = (false, false);
    for workload in WORKLOADS {
        if let Some(row) = Row::of(workload, lines) {
            has_void |= row.has_void;
            has_generator |= row.text.contains('‡');
            out.push(row.text);
        }
    }
    if has_void {
        out.extend([
            String::new(),
            "† Disturbed: stolen time above 2 % or other processes above 5 % of the machine in every try.".to_owned(),
        ]);
    }
    if has_generator {
        out.extend([String::new(), "‡ The generator was busy above 90 % in a run: it may have set the pace.".to_owned()]);
    }
    out.join("\n")
}

fn machine_name(machine: &Value) -> String {
    let text = |name: &str| machine[name].as_str().unwrap_or("unknown").to_owned();
    format!("{} x {}, Linux {}", machine["processors"], text("model"), text("kernel"))
}

struct Row {
    text: String,
    has_void: bool,
}

/// The lines of one contender for one workload: the good ones, or when there are none, the void ones that have figures.
struct Runs<'a> {
    lines: Vec<&'a Value>,
    is_void: bool,
}

impl<'a> Runs<'a> {
    fn of(workload: &Workload, contender: &str, lines: &'a [Value]) -> Self {
        let ran =
            || lines.iter().filter(|line| line["id"] == workload.id && line["contender"] == contender && line.get("failed").is_none());
        let good: Vec<&Value> = ran().filter(|line| line["void"].is_null()).collect();
        if good.is_empty() {
            let void: Vec<&Value> = ran().collect();
            return Self { is_void: !void.is_empty(), lines: void };
        }
        Self { lines: good, is_void: false }
    }

    fn figures(&self, figure: &Figure) -> Vec<f64> {
        self.lines.iter().filter_map(|line| figure.of(line)).collect()
    }

    fn say(&self, figures: impl Iterator<Item = &'static Figure>) -> String {
        let mark = if self.is_void { " †" } else { "" }.to_owned() + if self.by_generator() { " ‡" } else { "" };
        let figures = figures.filter_map(|figure| Some(format!("{} {}", spread(self.figures(figure))?, figure.name)));
        figures.collect::<Vec<_>>().join(", ") + &mark
    }

    fn by_generator(&self) -> bool {
        self.lines.iter().any(|line| line.pointer("/generator/is_the_bottleneck").and_then(Value::as_bool) == Some(true))
    }
}

impl Row {
    /// `None` when ours was not measured.
    fn of(workload: &Workload, lines: &[Value]) -> Option<Self> {
        let ours = Runs::of(workload, OURS, lines);
        if ours.lines.is_empty() {
            return None;
        }
        let names: BTreeSet<&str> =
            lines.iter().filter_map(|line| line["contender"].as_str()).filter(|name| ![OURS, LIMIT].contains(name)).collect();
        let javas: Vec<(&str, Runs<'_>)> =
            names.into_iter().map(|name| (name, Runs::of(workload, name, lines))).filter(|(_, runs)| !runs.lines.is_empty()).collect();
        // Shown is the best by the first figure; each ratio is to the best by its own.
        let best = workload.figures.first().and_then(|figure| best(figure, &javas));
        let ratio = |figure: &Figure| best_ratio(figure, &ours, &javas);
        let of_kind = |is_cpu: bool| {
            let figure = workload.figures.iter().find(|figure| if is_cpu { figure.name == CPU } else { figure.name == THROUGHPUT });
            let figure = figure.or_else(|| workload.figures.first().filter(|figure| !is_cpu && figure.name != CPU));
            figure.and_then(&ratio).and_then(spread).map_or_else(|| "-".to_owned(), |spread| format!("{spread} x"))
        };
        let musts: Vec<String> = workload.figures.iter().filter_map(|figure| verdict(figure, &ours, &javas)).collect();
        let limit = Runs::of(workload, LIMIT, lines);
        let fraction = workload.figures.first().and_then(|figure| {
            let share = figure.ratio(median(ours.figures(figure))?, median(limit.figures(figure))?);
            Some(format!("{:.0} %", share * 100.0))
        });
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let text = format!(
            "| {} {} | {} | {} | {} | {} | {} | {} | {} |",
            workload.id,
            workload.what,
            ours.say(workload.figures.iter()),
            best.map_or_else(|| "-".to_owned(), |(name, runs)| format!("{name}: {}", runs.say(workload.figures.iter()))),
            of_kind(false),
            of_kind(true),
            or_dash(musts.join("; ")),
            or_dash(limit.say(workload.figures.iter().filter(|figure| is_limited(figure)))),
            fraction.unwrap_or_else(|| "-".to_owned()),
        );
        let has_void = ours.is_void || limit.is_void || javas.iter().any(|(_, runs)| runs.is_void);
        Some(Self { text, has_void })
    }
}

/// The echo server's memory limits nobody.
fn is_limited(figure: &Figure) -> bool {
    figure.name == THROUGHPUT || figure.name == CPU || figure.name.ends_with("µs")
}

fn best<'a, 'b>(figure: &Figure, javas: &'b [(&'a str, Runs<'a>)]) -> Option<&'b (&'a str, Runs<'a>)> {
    let with = javas.iter().filter_map(|java| Some((median(java.1.figures(figure))?, java)));
    with.reduce(|one, other| if figure.ratio(other.0, one.0) > 1.0 { other } else { one }).map(|(_, java)| java)
}

/// Ours to the best of the original's by this figure: of the runs of the same round, or of the medians when no round has both.
fn best_ratio(figure: &Figure, ours: &Runs<'_>, javas: &[(&str, Runs<'_>)]) -> Option<Vec<f64>> {
    let (_, theirs) = best(figure, javas)?;
    let mut ratios = Vec::new();
    for line in &ours.lines {
        let same = theirs.lines.iter().find(|other| other["round"] == line["round"]);
        ratios.extend(same.and_then(|other| Some(figure.ratio(figure.of(line)?, figure.of(other)?))));
    }
    if ratios.is_empty() {
        ratios.push(figure.ratio(median(ours.figures(figure))?, median(theirs.figures(figure))?));
    }
    Some(ratios)
}

fn verdict(figure: &Figure, ours: &Runs<'_>, javas: &[(&str, Runs<'_>)]) -> Option<String> {
    let said = |must: String, is_met: Option<bool>| match is_met {
        Some(true) => format!("{must}: met"),
        Some(false) => format!("{must}: **not met**"),
        None => format!("{must}: not compared"),
    };
    Some(match figure.must? {
        Must::Times(times) => {
            let ratio = best_ratio(figure, ours, javas).and_then(median);
            said(format!("{times} x {}", figure.name), ratio.map(|ratio| ratio >= times))
        }
        Must::AtLeast(bound) => said(format!("at least {bound} {}", figure.name), median(ours.figures(figure)).map(|value| value >= bound)),
        Must::AtMost(bound) => said(format!("{bound} {}", figure.name), median(ours.figures(figure)).map(|value| value <= bound)),
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    Some((values[middle] + values[values.len() / 2]) / 2.0)
}

fn spread(values: Vec<f64>) -> Option<String> {
    let least = values.iter().copied().reduce(f64::min)?;
    let most = values.iter().copied().reduce(f64::max)?;
    let count = values.len();
    let median = number(median(values)?);
    Some(if count > 1 { format!("{median} ({} to {})", number(least), number(most)) } else { median })
}

/// Three digits that count, thousands apart.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(contender: &str, round: u32, rate: f64, cpu: f64, void: Option<&str>) -> Value {
        json!({"id": "W5", "contender": contender, "round": round, "messages_per_second": rate, "void": void,
            "server": {"cpu_seconds_per_million_messages": cpu}})
    }

    #[test]
    fn a_row_compares_with_the_best_java_of_the_same_round() {
        let lines = [
            run(OURS, 0, 400_000.0, 2.0, None),
            run("4.9.7 lean", 0, 100_000.0, 10.0, None),
            run("5.5.0 lean", 0, 80_000.0, 12.0, None),
            run("4.9.7 lean", 1, 110_000.0, 10.0, None),
            run(OURS, 1, 420_000.0, 2.0, None),
            run(OURS, 1, 1.0, 2.0, Some("steal_percent 9.0")),
            run(LIMIT, 0, 1_000_000.0, 1.0, None),
        ];
        let table = of(&lines, "f.jsonl");
        let row = table.lines().find(|line| line.starts_with("| W5 ")).unwrap();
        assert!(row.contains("| 410,000 (400,000 to 420,000) msg/s, "), "{row}");
        assert!(row.contains("| 4.9.7 lean: 105,000 (100,000 to 110,000) msg/s, "), "{row}");
        assert!(row.contains("| 3.91 (3.82 to 4.00) x |"), "{row}");
        assert!(row.contains("4 x msg/s: **not met**") && row.contains("5 x CPU µs/msg: met"), "{row}");
        assert!(row.contains("150 anonymous MiB: not compared") && row.ends_with("| 41 % |"), "{row}");
        assert!(!table.contains('†'), "the void run is not needed");
    }

    #[test]
    fn rounds_of_several_files_are_different_rounds() {
        let mut lines = Vec::new();
        let first = vec![json!({"machine": "m"}), run(OURS, 0, 40.0, 1.0, None), run("4.9.7 lean", 0, 10.0, 1.0, None)];
        let second = vec![run(OURS, 0, 100.0, 1.0, None), run("4.9.7 lean", 0, 20.0, 1.0, None)];
        let rounds_before = append_rounds(&mut lines, first, 0);
        assert_eq!((rounds_before, append_rounds(&mut lines, second, rounds_before)), (1, 2));
        let table = of(&lines, "f, g");
        assert!(table.contains("| 4.50 (4.00 to 5.00) x |"), "{table}");
    }

    #[test]
    fn void_runs_count_only_when_there_are_no_others_and_are_marked() {
        let lines = [run(OURS, 0, 50.0, 1.0, Some("steal_percent 9.0")), run("5.5.0 lean", 0, 10.0, 1.0, None)];
        let table = of(&lines, "f");
        assert!(table.contains("† |") && table.contains("Disturbed"), "{table}");
        assert!(table.contains("4 x msg/s: met"), "{table}");
    }

    #[test]
    fn a_run_whose_pace_the_generator_set_is_marked() {
        let mut line = run(OURS, 0, 50.0, 1.0, None);
        line["generator"] = json!({"is_the_bottleneck": true});
        let table = of(&[line], "f");
        assert!(table.contains(" ‡ |") && table.contains("busy above 90 %"), "{table}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.456, 12.34, 999.6, 1_234_567.0].map(number), ["0.46", "12.3", "1,000", "1,234,567"]);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!((median(vec![4.0, 1.0]), median(vec![])), (Some(2.5), None));
    }
}
