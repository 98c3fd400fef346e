// SPDX-License-Identifier: Apache-2.0
//! The language of the conversation files (`compat-tests/differential/*.txt`; its grammar stands in the README there).
//! Knows nothing of sockets: a file becomes a list of steps, substitutions stay as they were written.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// One file: everything in it runs in order on one fresh pair of servers.
#[derive(Debug)]
pub struct Family {
    pub name: String,
    /// Of the file and the prelude: a kept answer counts only for the text that it was given to.
    pub hash: String,
    pub broker_lines: Vec<String>,
    pub namesrv_lines: Vec<String>,
    pub scenarios: Vec<Scenario>,
}

#[derive(Debug)]
pub struct Scenario {
    pub name: String,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    pub line: usize,
    /// How the answer is called in later substitutions, in the kept answers and in reports.
    pub label: String,
    pub connection: String,
    pub verb: Verb,
}

#[derive(Debug)]
pub enum Verb {
    Ask(Spec),
    Async(Spec),
    Oneway(Spec),
    Until(i32, Spec),
    Await(String),
    Expect {
        code: i32,
        millis: u64,
    },
    Nothing(u64),
    Reply(Spec),
    Sleep(u64),
    Raw(String),
    /// A JSON table in the folder where the broker keeps them.
    File(String),
    Close,
}

/// A request as written: values still hold their substitutions.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    pub code: i32,
    pub fields: Vec<(String, String)>,
    pub flags: Vec<String>,
    pub body: Option<String>,
}

impl Spec {
    #[must_use]
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    /// The value of a flag written as `!name=value`.
    #[must_use]
    pub fn flag_value(&self, name: &str) -> Option<&str> {
        self.flags.iter().find_map(|flag| flag.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Bumped when the meaning of kept answers changes.
const FORMAT: &str = "2";

pub fn load(directory: &Path, name: &str) -> Result<Family> {
    let prelude = fs::read_to_string(directory.join("prelude.txt"))?;
    let text = fs::read_to_string(directory.join(format!("{name}.txt"))).with_context(|| format!("family {name}"))?;
    let mut family = Family {
        name: name.to_owned(),
        hash: format!("{:016x}", fnv(&[FORMAT, &prelude, &text])),
        broker_lines: Vec::new(),
        namesrv_lines: Vec::new(),
        scenarios: Vec::new(),
    };
    let mut templates = HashMap::new();
    for (source, text) in [("prelude", &prelude), (name, &text)] {
        for (number, line) in logical_lines(text) {
            read_line(&line, number, &mut family, &mut templates).with_context(|| format!("{source}.txt line {number}: {line}"))?;
        }
    }
    Ok(family)
}

/// Lines with their numbers; a backslash at the end joins the next one.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        let (number, mut line) = open.take().unwrap_or((index + 1, String::new()));
        line.push_str(if line.is_empty() { raw } else { raw.trim_start() });
        if let Some(head) = line.strip_suffix('\\') {
            open = Some((number, head.to_owned()));
            continue;
        }
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            lines.push((number, line.to_owned()));
        }
    }
    lines
}

fn read_line(line: &str, number: usize, family: &mut Family, templates: &mut HashMap<String, Spec>) -> Result<()> {
    if let Some(name) = line.strip_prefix("== ") {
        if family.scenarios.iter().any(|scenario| scenario.name == name) {
            bail!("the scenario {name} stands twice");
        }
        family.scenarios.push(Scenario { name: name.to_owned(), steps: Vec::new() });
        return Ok(());
    }
    if let Some(config) = line.strip_prefix("config ") {
        family.broker_lines.push(config.to_owned());
        return Ok(());
    }
    if let Some(config) = line.strip_prefix("nsconfig ") {
        family.namesrv_lines.push(config.to_owned());
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("template ") {
        let (name, rest) = rest.split_once(' ').context("a template needs a name and a code")?;
        let spec = read_spec(rest, templates)?;
        templates.insert(name.to_owned(), spec);
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("sweep ") {
        return read_sweep(rest, number, family, templates);
    }
    if let Some((head, tail)) = line.split_once(" = ")
        && head.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    {
        return read_step(Some(head.to_owned()), tail, number, family, templates);
    }
    read_step(None, line, number, family, templates)
}

fn read_step(label: Option<String>, line: &str, number: usize, family: &mut Family, templates: &HashMap<String, Spec>) -> Result<()> {
    let scenario = family.scenarios.last_mut().context("a step before the first scenario")?;
    let mut rest = line;
    let mut connection = "b1".to_owned();
    if let Some((head, tail)) = rest.split_once(": ")
        && head.len() <= 3
        && head.starts_with(['b', 'n', 'v'])
    {
        connection = head.to_owned();
        rest = tail;
    }
    let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    let verb = match word {
        "async" => Verb::Async(read_spec(tail, templates)?),
        "oneway" => Verb::Oneway(read_spec(tail, templates)?),
        "until" => {
            let (code, tail) = tail.split_once(' ').context("until needs a code and a request")?;
            Verb::Until(code.parse()?, read_spec(tail, templates)?)
        }
        "await" => Verb::Await(tail.trim().to_owned()),
        "expect" => {
            let (code, millis) = tail.split_once(' ').unwrap_or((tail, "3000"));
            Verb::Expect { code: code.parse()?, millis: millis.parse()? }
        }
        "nothing" => Verb::Nothing(tail.parse()?),
        "reply" => Verb::Reply(read_spec(tail, templates)?),
        "sleep" => Verb::Sleep(tail.parse()?),
        "raw" => Verb::Raw(tail.to_owned()),
        "file" => Verb::File(tail.trim().to_owned()),
        "close" => Verb::Close,
        _ => Verb::Ask(read_spec(rest, templates)?),
    };
    let label = label.unwrap_or_else(|| format!("{:02} {}", scenario.steps.len() + 1, word));
    if scenario.steps.iter().any(|step| step.label == label) {
        bail!("the label {label} stands twice");
    }
    scenario.steps.push(Step { line: number, label, connection, verb });
    Ok(())
}

/// One step for each number. `FIELD=a,b,c` names the values itself; `@@` in the request is where they go, else the field is set.
fn read_sweep(text: &str, number: usize, family: &mut Family, templates: &HashMap<String, Spec>) -> Result<()> {
    let (what, request) = text.split_once(' ').context("a sweep needs a field and a request")?;
    let (field, values) = match what.split_once('=') {
        Some((field, values)) => (field, values.split(',').collect()),
        None => (what, NUMBERS.to_vec()),
    };
    for (at, value) in values.into_iter().enumerate() {
        let label = format!("{field} {}", if value.is_empty() { "empty" } else { value }).replace('+', "plus");
        let line = if request.contains("@@") {
            request.replace("@@", value).replace("##", &at.to_string())
        } else {
            let (head, body) = request.split_once(" <").map_or((request, String::new()), |(head, body)| (head, format!(" <{body}")));
            format!("{} {field}={value}{body}", head.replace("##", &at.to_string()))
        };
        read_step(Some(label), &line, number, family, templates)?;
    }
    Ok(())
}

/// What every number that a client sends is tried with: the ends of an int and of a long, what lies beyond, and what is none.
const NUMBERS: [&str; 12] = [
    "-9223372036854775808",
    "-2147483648",
    "-1",
    "0",
    "1",
    "+1",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "word",
    "",
];

fn read_spec(text: &str, templates: &HashMap<String, Spec>) -> Result<Spec> {
    let (head, body) = match text.find(" <") {
        Some(at) => (&text[..at], Some(text[at + 2..].to_owned())),
        None => (text, None),
    };
    let mut words = head.split(' ').filter(|word| !word.is_empty());
    let first = words.next().context("a request needs a code or a template")?;
    let mut spec = match first.parse() {
        Ok(code) => Spec { code, ..Spec::default() },
        Err(_) => templates.get(first).with_context(|| format!("no template {first}"))?.clone(),
    };
    for word in words {
        if let Some(flag) = word.strip_prefix('!') {
            spec.flags.push(flag.to_owned());
        } else if let Some(name) = word.strip_prefix('-').filter(|name| !name.contains('=')) {
            spec.fields.retain(|(key, _)| key != name);
        } else {
            let (key, value) = word.split_once('=').with_context(|| format!("{word} is neither key=value, -key nor !flag"))?;
            let value = unescape(value)?;
            spec.fields.retain(|(known, _)| known != key);
            spec.fields.push((key.to_owned(), value));
        }
    }
    if body.is_some() {
        spec.body = body;
    }
    Ok(spec)
}

/// `\1` and `\2` are the separators of message properties, `\s` a blank.
pub fn unescape(text: &str) -> Result<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('0') => '\0',
            Some('1') => '\u{1}',
            Some('2') => '\u{2}',
            Some('s') => ' ',
            Some('n') => '\n',
            Some('\\') => '\\',
            other => bail!("unknown escape \\{}", other.unwrap_or(' ')),
        });
    }
    Ok(out)
}

fn fnv(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in texts.iter().flat_map(|text| text.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
